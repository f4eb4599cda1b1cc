"""Undo content encodings."""

from __future__ import annotations

from precast import kernels
from precast.errors import FormatError, StorageError

__all__ = ["MAX_INFLATED_BYTES", "content_encoding", "decode"]

MAX_INFLATED_BYTES = 1 << 34


def content_encoding(header: str | None) -> str:
    """Return the encoding of a stored object, ``identity`` if it has none.

    Some programs store the name of the transfer, ``aws-chunked``, beside it.
    """
    names = [name.strip().lower() for name in (header or "").split(",")]
    names = [name for name in names if name not in ("", "identity", "aws-chunked")]
    return "gzip" if names == ["x-gzip"] else ", ".join(names) or "identity"


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
    try:
        if encoding == "identity":
            return data
        if encoding == "gzip":
            return kernels.gzip_decompress(data, limit)
        if encoding in ("br", "zstd", "deflate"):
            import imagecodecs

            decoders = {
                "br": imagecodecs.brotli_decode,
                "zstd": imagecodecs.zstd_decode,
                "deflate": imagecodecs.zlib_decode,
            }
            plain = bytes(decoders[encoding](data))
            if len(plain) > limit:
                raise FormatError(f"becomes more than {limit} bytes")
            return plain
    except (FormatError, RuntimeError, ValueError) as error:
        raise StorageError(f"{what} is not the {encoding} that its header says: {error}", where=key) from None
    raise StorageError(f"{what} has the content encoding {encoding!r}, which precast does not know", where=key)
