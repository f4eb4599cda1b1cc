"""Every source passes the contract; the files are written by tifffile, imagecodecs and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import imagecodecs
import numpy as np
import tifffile

from precast.sources import Source, SourceOptions, open_source
from precast.sources.base import Array
from source_contract import SourceContract, noise


class TestArray(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((6, 7, 5), "u8")
        return open_source(voxels), voxels[None]


class TestArrayStridedForeign(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((2, 6, 14, 5), ">u2")[:, ::-1, ::2]
        return open_source(voxels), voxels.astype("=u2")


class TestArrayNamedAxes(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((5, 7, 6, 1), "u1")
        return open_source(voxels, SourceOptions(axes="xyzt")), voxels[..., 0].transpose(2, 1, 0)[None]


class TestNpy(SourceContract):
    order = "C"
    dtype = "i4"

    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((6, 9, 11), self.dtype)
        np.save(path / "volume.npy", np.asarray(voxels, order=self.order))  # type: ignore[call-overload]
        delivered = "f4" if self.dtype == "f2" else np.dtype(self.dtype).newbyteorder("=")
        return open_source(path / "volume.npy"), voxels.astype(delivered)[None]


class TestNpyFortran(TestNpy):
    order = "F"


class TestNpyHalfBigEndian(TestNpy):
    dtype = ">f2"

    def make(self, path: Path) -> tuple[Source, Array]:
        source, _ = super().make(path)
        return source, noise((6, 9, 11), self.dtype).astype("f4")[None]


class TestTiffFolder(SourceContract):
    dtype = "u4"
    options: ClassVar[dict[str, Any]] = {"compression": "zlib", "rowsperstrip": 4}

    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((5, 13, 17), self.dtype)
        folder = path / "slices"
        folder.mkdir()
        for z, plane in enumerate(voxels):
            tifffile.imwrite(folder / f"z{z:03}.tif", plane, **self.options)
        return open_source(folder), voxels.astype(np.dtype(self.dtype).newbyteorder("="))[None]


class TestTiffFolderRaw(TestTiffFolder):
    options: ClassVar[dict[str, Any]] = {"rowsperstrip": 3}


class TestTiffFolderBigEndianPredictor(TestTiffFolder):
    dtype = ">u2"
    options: ClassVar[dict[str, Any]] = {"compression": "lzw", "predictor": True, "rowsperstrip": 5, "byteorder": ">"}


class TestTiffFolderFloatPredictor(TestTiffFolder):
    dtype = "f4"
    options: ClassVar[dict[str, Any]] = {"compression": "zlib", "predictor": 3, "rowsperstrip": 5}


class TestTiffFolderBits(TestTiffFolder):
    dtype = "?"
    options: ClassVar[dict[str, Any]] = {"rowsperstrip": 5}


class TestPngFolder(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((4, 9, 8), "u2")
        folder = path / "slices"
        folder.mkdir()
        for z, plane in enumerate(voxels):
            (folder / f"{z}.png").write_bytes(imagecodecs.png_encode(plane))
        return open_source(folder), voxels[None]


class TestPngColour(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        image = noise((9, 8, 4), "u1")
        (path / "one.png").write_bytes(imagecodecs.png_encode(image))
        return open_source(path / "one.png"), image.transpose(2, 0, 1)[:, None]


class TestJpegFolder(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        folder = path / "slices"
        folder.mkdir()
        planes = []
        for z, plane in enumerate(noise((3, 16, 24, 3), "u1")):
            data = imagecodecs.jpeg8_encode(plane, level=95)
            (folder / f"{z}.jpg").write_bytes(data)
            planes.append(imagecodecs.jpeg8_decode(data))
        return open_source(folder), np.stack(planes).transpose(3, 0, 1, 2)


class TestFilledFolder(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((5, 6, 7), "u1")
        folder = path / "slices"
        folder.mkdir()
        for z in (0, 1, 3, 4):
            tifffile.imwrite(folder / f"{z}.tif", voxels[z])
        voxels[2] = voxels[1]
        return open_source(folder, SourceOptions(fill_gaps="previous")), voxels[None]


class TestMultiPage(SourceContract):
    options: ClassVar[dict[str, Any]] = {}

    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((6, 19, 21), "u2")
        tifffile.imwrite(path / "stack.tif", voxels, photometric="minisblack", **self.options)
        return open_source(path / "stack.tif"), voxels[None]


class TestMultiPageTiled(TestMultiPage):
    options: ClassVar[dict[str, Any]] = {"tile": (16, 16), "compression": "zstd"}


class TestMultiPageRawTiled(TestMultiPage):
    options: ClassVar[dict[str, Any]] = {"tile": (16, 16)}


class TestBigTiff(TestMultiPage):
    options: ClassVar[dict[str, Any]] = {
        "bigtiff": True,
        "byteorder": ">",
        "compression": "packbits",
        "rowsperstrip": 4,
    }


class TestContiguousImageJ(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((4, 3, 8, 9), "u2")
        tifffile.imwrite(path / "stack.tif", voxels, imagej=True, metadata={"axes": "ZCYX"})
        return open_source(path / "stack.tif"), voxels.transpose(1, 0, 2, 3)


class TestPlanarColour(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((3, 4, 18, 20), "u1")
        with tifffile.TiffWriter(path / "stack.tif") as file:
            for z in range(4):
                file.write(voxels[:, z], photometric="rgb", planarconfig="separate", compression="lzw", rowsperstrip=5)
        return open_source(path / "stack.tif"), voxels


class TestInterleavedColour(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((4, 18, 20, 3), "u2")
        tifffile.imwrite(
            path / "stack.tif", voxels, photometric="rgb", tile=(16, 16), compression="zlib", predictor=True
        )
        return open_source(path / "stack.tif"), voxels.transpose(3, 0, 1, 2)


class TestOme(SourceContract):
    def make(self, path: Path) -> tuple[Source, Array]:
        voxels = noise((2, 5, 7, 9), "u1")
        tifffile.imwrite(path / "stack.ome.tif", voxels, ome=True, metadata={"axes": "CZYX"}, compression="zlib")
        return open_source(path / "stack.ome.tif"), voxels
