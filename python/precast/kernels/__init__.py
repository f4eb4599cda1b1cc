"""The compiled kernels with precast's errors: the only package that imports ``precast._native``.

Arrays are ``(c, z, y, x)`` with contiguous rows of x, or ``(z, y, x)`` for one channel; other axes may be
strided. Vectors are x, y, z. All of them release the interpreter lock while they work.
"""

from __future__ import annotations

from precast import _native
from precast.kernels.addresses import morton_cells, morton_codes, murmurhash3_x86_128
from precast.kernels.codecs import (
    ChunkCodec,
    compressed_segmentation_worst_case_words,
    decode_compressed_segmentation,
    encode_chunks,
    gzip_compress,
    gzip_decompress,
)
from precast.kernels.common import Bytes
from precast.kernels.draco import draco_decode, draco_encode
from precast.kernels.meshes import (
    Cells,
    Fragments,
    Mesh,
    Pieces,
    Simplification,
    Welded,
    cut_mesh,
    measure_mesh,
    mesh_block,
    simplify_mesh,
    weld_meshes,
)
from precast.kernels.surfaces import Surfaces, extract_surface
from precast.kernels.volumes import (
    LABEL_DTYPE,
    DownsampleMethod,
    LabelTable,
    downsample,
    downsample_domain,
    format_digest,
    voxel_digest,
)

__all__ = [
    "LABEL_DTYPE",
    "Bytes",
    "Cells",
    "ChunkCodec",
    "DownsampleMethod",
    "Fragments",
    "HttpReply",
    "HttpServer",
    "LabelTable",
    "Mesh",
    "Pieces",
    "Simplification",
    "Surfaces",
    "Welded",
    "compressed_segmentation_worst_case_words",
    "cut_mesh",
    "decode_compressed_segmentation",
    "downsample",
    "downsample_domain",
    "draco_decode",
    "draco_encode",
    "encode_chunks",
    "extract_surface",
    "format_digest",
    "gzip_compress",
    "gzip_decompress",
    "measure_mesh",
    "mesh_block",
    "morton_cells",
    "morton_codes",
    "murmurhash3_x86_128",
    "simplify_mesh",
    "version",
    "voxel_digest",
    "weld_meshes",
]

version: str = _native.__version__

HttpReply = _native.Reply
"""Where the answer to one request goes."""

HttpServer = _native.DataServer
"""The running HTTP server of :mod:`precast.hosting.server`, which sets it up and maps its errors."""
