"""A directory as a store.

A gzipped object ``X`` lies on disk as ``X.gz``; what others packed with brotli, as ``X.br``. Files are written under a
temporary name that starts with a dot and renamed when they are complete. On Windows ``:`` in a key is stored as
``%3A``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from precast.errors import StorageError
from precast.storage.base import Attributes, ObjectStat, StoredBytes, check_key, translate_os_error
from precast.storage.encodings import SUFFIXES, bare_name, forms, unpack

__all__ = ["LocalStore"]


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
        """Return an object, unpacked if it is stored packed, or a range of one that is not."""
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
        for encoding, suffix in SUFFIXES.items():
            packed = path.with_name(path.name + suffix)
            try:
                data = packed.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise translate_os_error(error, "reading", packed) from None
            if start is not None or stop is not None:
                raise StorageError(f"{packed} is packed as {encoding} and cannot be read by ranges", where=key)
            return unpack(data, encoding)
        raise translate_os_error(FileNotFoundError(), "reading", path)

    def read_stored(self, key: str, start: int | None = None, stop: int | None = None) -> StoredBytes:
        """Return an object as its file is, or a range of it."""
        path, encoding, _ = self._found(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                file.seek(start or 0)
                end = status.st_size if stop is None else min(stop, status.st_size)
                data = file.read(max(0, end - (start or 0)))
                return StoredBytes(data, encoding, _etag(status), status.st_size)
        except OSError as error:
            raise translate_os_error(error, "reading", path) from None

    def file_of(self, key: str) -> Path:
        """Return the file that an object is in, packed if it is."""
        return self._found(key)[0]

    def write(self, key: str, data: bytes, attributes: Attributes) -> None:
        """Write a file under a temporary name, then rename it."""
        plain = self._path(key)
        path = _form(plain, attributes.encoding)
        temporary = (self.temporary or path.parent) / f".{path.name}.part"
        try:
            try:
                self._put(temporary, data, path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._put(temporary, data, path)
            self._remove(plain, but=path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise translate_os_error(error, "writing", path) from None

    @staticmethod
    def _put(temporary: Path, data: bytes, path: Path) -> None:
        with temporary.open("wb") as file:
            file.write(data)
        temporary.replace(path)

    @staticmethod
    def _remove(plain: Path, but: Path | None = None) -> None:
        """Remove an object in all its forms but one."""
        for name in forms(plain.name):
            if but is None or name != but.name:
                plain.with_name(name).unlink(missing_ok=True)

    def write_file(self, key: str, path: Path, attributes: Attributes) -> None:
        """Move a file of the same file system into place."""
        plain = self._path(key)
        target = _form(plain, attributes.encoding)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            self._remove(plain, but=target)
        except OSError as error:
            raise translate_os_error(error, "writing", target) from None

    def stat(self, key: str) -> ObjectStat:
        """Describe one object."""
        _, encoding, status = self._found(key)
        return ObjectStat(key=key, size=status.st_size, encoding=encoding, etag=_etag(status))

    def _found(self, key: str) -> tuple[Path, str, os.stat_result]:
        """Return the file that readers of a key get, its encoding, and what is known of it."""
        path = self._path(key)
        for encoding, suffix in {"": "", **SUFFIXES}.items():
            candidate = path.with_name(path.name + suffix)
            try:
                return candidate, encoding, candidate.stat()
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
            key, encoding = bare_name(key)
            yield ObjectStat(key=key, size=status.st_size, encoding=encoding, etag=_etag(status))

    def delete(self, key: str) -> None:
        """Remove an object in every form."""
        path = self._path(key)
        try:
            self._remove(path)
        except OSError as error:
            raise translate_os_error(error, "removing", path) from None


def _form(plain: Path, encoding: str) -> Path:
    if encoding and encoding not in SUFFIXES:
        raise StorageError(f"{plain} cannot be kept as {encoding}: files have names for {', '.join(SUFFIXES)} alone")
    return plain.with_name(plain.name + SUFFIXES.get(encoding, ""))


def _etag(status: os.stat_result) -> str:
    inode = 0 if os.name == "nt" else status.st_ino  # listings of Windows do not have it
    return f"{inode:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
