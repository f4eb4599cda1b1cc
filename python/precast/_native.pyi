"""The compiled kernels; use them through :mod:`precast.kernels`, where they are described."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = bytes | bytearray | memoryview

__version__: str

class FormatError(ValueError): ...

class Reply:
    def whole(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None: ...
    def begin(self, status: int, headers: Sequence[tuple[str, str]]) -> None: ...
    def send(self, piece: bytes) -> bool | None: ...
    def end(self) -> None: ...
    def fail(self) -> bool | None: ...

class DataServer:
    def __init__(self, address: str, port: int, threads: int, settings: Any) -> None: ...
    @property
    def port(self) -> int: ...
    def mount(
        self, segments: Sequence[str], handler: Callable[[str, str, str, list[tuple[str, str]], bytes, Reply], None]
    ) -> None: ...
    def mount_files(self, segments: Sequence[str], root: str, rules: Any, index: str) -> None: ...
    def close(self) -> None: ...

def encode_chunks(
    data: npt.NDArray[Any],
    chunk_size: Sequence[int],
    block_size: Sequence[int] | None,
    gzip_level: int | None,
    skip_zero: bool,
    threads: int,
) -> list[bytes | None]: ...
def decode_compressed_segmentation(data: Bytes, block_size: Sequence[int], out: npt.NDArray[Any]) -> None: ...
def compressed_segmentation_worst_case_words(
    chunk_size: Sequence[int], block_size: Sequence[int], itemsize: int
) -> int: ...
def gzip_compress(data: Bytes, level: int) -> bytes: ...
def gzip_decompress(data: Bytes, max_size: int) -> bytes: ...
def morton_codes(cells: npt.NDArray[np.uint64], grid: Sequence[int]) -> npt.NDArray[np.uint64]: ...
def morton_cells(codes: npt.NDArray[np.uint64], grid: Sequence[int]) -> npt.NDArray[np.uint64]: ...
def murmurhash3_x86_128(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]: ...
def downsample(
    data: npt.NDArray[Any],
    out: npt.NDArray[Any],
    start: tuple[int, int, int],
    factors: tuple[int, int, int],
    method: str,
    threads: int,
) -> None: ...
def voxel_digest(
    data: npt.NDArray[np.unsignedinteger[Any]], start: tuple[int, int, int], size: tuple[int, int, int], threads: int
) -> tuple[int, int]: ...
def format_digest(lanes: tuple[int, int], size: tuple[int, int, int], channels: int, dtype: str) -> str: ...
def extract_surface(
    data: npt.NDArray[Any],
    start: tuple[int, int, int],
    closed: Sequence[tuple[bool, bool]],
    only: npt.NDArray[np.uint64] | None,
    excluded: npt.NDArray[np.uint64] | None,
) -> tuple[
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.int32],
    npt.NDArray[np.uint32],
]: ...
def draco_encode(positions: npt.NDArray[np.int32], faces: npt.NDArray[np.uint32]) -> bytes: ...
def draco_decode(
    data: Bytes, max_faces: int, max_vertices: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]: ...
def simplify_mesh(
    positions: npt.NDArray[np.int32],
    faces: npt.NDArray[np.uint32],
    unit_nm: Sequence[float],
    max_error_nm: float,
    max_rms_nm: float,
    target_faces: int,
    patch: int,
    snap: Sequence[int],
    near: npt.NDArray[np.uint32] | None,
    edges: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32], float]: ...

class LabelTable:
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def update(self, data: npt.NDArray[Any], start: tuple[int, int, int], threads: int) -> None: ...
    def merge(self, records: npt.NDArray[np.uint64]) -> None: ...
    def take(self) -> npt.NDArray[np.uint64]: ...

def mesh_block(
    labels: npt.NDArray[Any],
    start: tuple[int, int, int],
    closed: tuple[tuple[bool, bool], tuple[bool, bool], tuple[bool, bool]],
    ids: npt.NDArray[np.uint64] | None,
    keep: npt.NDArray[np.uint64],
    units: int,
    unit_nm: tuple[float, float, float],
    max_error_nm: float,
    max_rms_nm: float,
    patch: int,
    snap: tuple[int, int, int],
) -> tuple[
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.int32],
    npt.NDArray[np.uint32],
    npt.NDArray[np.float64],
    npt.NDArray[np.uint64],
    list[tuple[int, str]],
]: ...
def weld_meshes(
    pieces: Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]], fill: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32], int, npt.NDArray[np.uint32]]: ...
def cut_mesh(
    positions: npt.NDArray[np.int32],
    faces: npt.NDArray[np.uint32],
    width: int,
    middle: int | None,
    count: tuple[int, int, int],
    snap: int,
    rounding: int,
) -> tuple[
    npt.NDArray[np.uint32],
    npt.NDArray[np.uint8],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.int32],
    npt.NDArray[np.uint32],
]: ...
def measure_mesh(
    positions: npt.NDArray[np.int32], faces: npt.NDArray[np.uint32], unit: tuple[float, float, float]
) -> tuple[float, float, int]: ...
