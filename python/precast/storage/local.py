"""A directory as a store.

A gzipped object ``X`` lies on disk as ``X.gz``. Files are written under a temporary name that starts
with a dot and renamed when they are complete. On Windows ``:`` in a key is stored as ``%3A``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from precast import kernels
from precast.errors import StorageError
from precast.storage.base import Attributes, ObjectStat, check_key, translate_os_error

__all__ = ["LocalStore"]

MAX_INFLATED_BYTES = 1 << 34


class LocalStore:
    """Objects under one directory, which is made on the first write.

    Parameters
    ----------
    root
        The directory.
    temporary
        Where half-written files lie, on the same file system; beside their final place by default.
    """

    def __init__(self, root: str | os.PathLike[str], temporary: Path | None = None) -> None:
        self.root = Path(root)
        self.temporary = temporary
        self.url = str(self.root)

    def __repr__(self) -> str:
        return f"LocalStore({self.url!r})"

    def _path(self, key: str) -> Path:
        check_key(key)
        return self.root / (key.replace(":", "%3A") if os.name == "nt" else key)

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Return an object (inflated if it is stored as ``.gz``), or a range of one that is not."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                if start is None and stop is None:
                    return file.read()
                file.seek(start or 0)
                if stop is None:
                    return file.read()
                # what a damaged index asks for may be far more than there is, and read() would allocate it
                return file.read(max(0, min(stop, os.fstat(file.fileno()).st_size) - (start or 0)))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise translate_os_error(error, "reading", path) from None
        packed = path.with_name(path.name + ".gz")
        try:
            data = packed.read_bytes()
        except FileNotFoundError as error:
            raise translate_os_error(error, "reading", path) from None
        except OSError as error:
            raise translate_os_error(error, "reading", packed) from None
        if start is not None or stop is not None:
            raise StorageError(f"{packed} is gzipped and cannot be read by ranges", where=key)
        return kernels.gzip_decompress(data, MAX_INFLATED_BYTES)

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Write a file under a temporary name, then rename it."""
        path = self._path(key)
        if attributes.gzipped:
            path = path.with_name(path.name + ".gz")
        temporary = (self.temporary or path.parent) / f".{path.name}.part"
        try:
            try:
                self._put(temporary, data, path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._put(temporary, data, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise translate_os_error(error, "writing", path) from None

    @staticmethod
    def _put(temporary: Path, data: bytes, path: Path) -> None:
        with temporary.open("wb") as file:
            file.write(data)
        temporary.replace(path)

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Move a file of the same file system into place."""
        target = self._path(key)
        if attributes.gzipped:
            target = target.with_name(target.name + ".gz")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            raise translate_os_error(error, "writing", target) from None

    def stat(self, key: str) -> ObjectStat:
        """Describe one object."""
        path = self._path(key)
        for candidate, gzipped in ((path, False), (path.with_name(path.name + ".gz"), True)):
            try:
                status = candidate.stat()
                return ObjectStat(key=key, size=status.st_size, gzipped=gzipped, etag=_etag(status))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise translate_os_error(error, "reading", candidate) from None
        raise translate_os_error(FileNotFoundError(), "reading", path)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects, sorted; names that start with a dot are not objects."""
        top = self.root / prefix.rpartition("/")[0] if "/" in prefix else self.root
        yield from (stat for stat in self._walk(top) if stat.key.startswith(prefix))

    def _walk(self, folder: Path) -> Iterator[ObjectStat]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate_os_error(error, "listing", folder) from None
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                folder_inside, status = entry.is_dir(), entry.stat()
            except OSError:  # a link that leads nowhere is an object too: reading it fails, and says why
                folder_inside, status = False, entry.stat(follow_symlinks=False)
            if folder_inside:
                yield from self._walk(Path(entry.path))
                continue
            key = Path(entry.path).relative_to(self.root).as_posix()
            if os.name == "nt":
                key = key.replace("%3A", ":")
            gzipped = key.endswith(".gz")
            yield ObjectStat(key=key.removesuffix(".gz"), size=status.st_size, gzipped=gzipped, etag=_etag(status))

    def delete(self, key: str) -> None:
        """Remove an object in either form."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".gz").unlink(missing_ok=True)
        except OSError as error:
            raise translate_os_error(error, "removing", path) from None


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
