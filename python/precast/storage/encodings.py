"""Content encodings in which objects are stored: their names, the ends of file names that stand for them, decoders.

An object ``X`` that is packed lies on a disk as ``X.gz`` or ``X.br``. precast writes gzip alone; brotli is what igneous
and cloud-volume write when they are told nothing else, or asked to.
"""

from __future__ import annotations

from typing import Any

from precast import kernels
from precast.errors import FormatError, StorageError

__all__ = ["MAX_INFLATED_BYTES", "SUFFIXES", "bare_name", "content_encoding", "decode", "forms", "unpack"]

SUFFIXES = {"gzip": ".gz", "br": ".br"}
"""By the name in ``Content-Encoding``, in the order in which files are looked for."""

MAX_INFLATED_BYTES = 1 << 34
USUAL_BYTES = 1 << 26
"""Room for nearly every object; memory is taken only for what is filled."""


def forms(name: str) -> tuple[str, ...]:
    """Return the names that the file of an object may have: its own, then packed."""
    return (name, *(f"{name}{suffix}" for suffix in SUFFIXES.values()))


def bare_name(name: str) -> tuple[str, str]:
    """Return the name of the object that a file stands for, and its encoding, empty if it is stored as it is."""
    for encoding, suffix in SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), encoding
    return name, ""


def unpack(data: bytes, encoding: str, limit: int = MAX_INFLATED_BYTES) -> bytes:
    """Undo an encoding.

    Parameters
    ----------
    data
        The bytes as they are stored or sent.
    encoding
        ``gzip``, ``br``, ``zstd`` or ``deflate``, as in ``Content-Encoding``.
    limit
        Bytes that it may become.

    Raises
    ------
    FormatError
        If the bytes are not of the encoding, or become too many.
    StorageError
        If the installed imagecodecs was built without it.
    """
    if encoding == "gzip":
        return kernels.gzip_decompress(data, limit)
    import imagecodecs  # takes a while, and is needed for none of precast's own files

    codecs: dict[str, tuple[Any, Any]] = {
        "br": (imagecodecs.BROTLI, imagecodecs.brotli_decode),
        "zstd": (imagecodecs.ZSTD, imagecodecs.zstd_decode),
        "deflate": (imagecodecs.ZLIB, imagecodecs.zlib_decode),
    }
    codec, decode = codecs[encoding]
    if not codec.available:
        raise StorageError(
            f"the installed imagecodecs cannot decode {encoding}",
            hint="install one that can: pip install --upgrade imagecodecs",
        )
    # the decoder does not tell what is broken from what does not fit, so that the second try is for both
    for room in sorted({min(USUAL_BYTES, limit), limit}):
        try:
            return bytes(decode(data, out=room))
        except (RuntimeError, ValueError, MemoryError):
            continue
    raise FormatError(f"{len(data)} bytes are not {encoding} data, or become more than the {limit} bytes allowed")


def content_encoding(header: str | None) -> str:
    """Return the encoding of a stored object, empty if it has none.

    Some programs store the name of the transfer, ``aws-chunked``, beside it.
    """
    names = [name.strip().lower() for name in (header or "").split(",")]
    names = [name for name in names if name not in ("", "identity", "aws-chunked")]
    return "gzip" if names == ["x-gzip"] else ", ".join(names)


def decode(data: bytes, header: str | None, what: str, key: str, limit: int = MAX_INFLATED_BYTES) -> bytes:
    """Undo a content encoding; of those that are not asked for, what stores send all the same.

    Parameters
    ----------
    data
        The bytes as they were sent.
    header
        Value of ``Content-Encoding``; None if there was none.
    what, key
        The object, for errors.
    limit
        Bytes that it may become.

    Raises
    ------
    StorageError
        If the data are not what the header says, or become longer than ``limit`` bytes.
    """
    encoding = content_encoding(header)
    if not encoding:
        return data
    if encoding in ("gzip", "br", "zstd", "deflate"):
        try:
            return unpack(data, encoding, limit)
        except FormatError as error:
            text = f"{what} is not the {encoding} that its header says: {error.message}"
            raise StorageError(text, where=key) from None
    raise StorageError(f"{what} has the content encoding {encoding!r}, which precast does not know", where=key)
