"""The work directory of one destination: what survives a kill, and how the result gets into place.

For a destination ``<parent>/<name>`` on a local disk it is ``<parent>/.precast/<name>/``::

    ledger.json   what is being made: tool, source, options; and how it was planned
    lock          held while a process works here
    spool/        scratch files of finished and running tasks (or elsewhere, with --scratch)
    parts/        half-written shards
    out/          the dataset as it grows; its ``info`` comes last
    ready         out/ is complete; only the swap is left
    old/          the dataset that is being replaced, between the two renames of the swap

The destination itself is touched only by renames of whole directories, so it holds the old dataset or
the new one, complete, at any moment but one; a kill in that moment is mended by the next run.

Work on parts of a dataset (its meshes) has a directory of its own, ``<parent>/.precast/<name>.<work>/``; only the
named parts of the destination are replaced then, and a last step, such as linking them in ``info``, follows the swap.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from precast.errors import DestinationExistsError, StorageError, UsageError
from precast.storage import LocalStore, Store
from precast.storage.base import translate_os_error

__all__ = ["BUILD_LEDGER", "PartsOfDataset", "StateDirectory", "WorkDirectory", "unfinished_work"]

WORK = ".precast"
BUILD_LEDGER = f"{WORK}/build.json"
"""Where ``build`` keeps what it has done, in the directory of the datasets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsOfDataset:
    """Work that makes some directories of an existing dataset.

    Attributes
    ----------
    work
        Name of the work, part of the name of its directory.
    names
        The directories that are put into place; a name that the work did not make leaves what is there.
    merged
        Those of them that may be there already, because the work takes over what they hold.
    last
        What follows when they are in place, done to the dataset's store. It may be called again after a kill, so it
        must not mind.
    """

    work: str
    names: tuple[str, ...]
    merged: tuple[str, ...]
    last: Callable[[Store], None]


class StateDirectory:
    """A directory with the state of one piece of work; use as a context manager, which holds the lock.

    Parameters
    ----------
    path
        The directory.
    what
        What is being made, for errors.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        self._lock: int | None = None

    spool: Path
    parts: Path

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise translate_os_error(error, "making", self.path) from None
        if not _try_lock(self._lock):
            os.close(self._lock)
            self._lock = None
            raise DestinationExistsError(
                f"another precast process is writing {self._what}",
                hint="wait for it to end, or stop it",
                where=self._what,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if not (self.path / "ledger.json").exists():
            self.remove()

    def begin(self, ledger: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
        """Start, or find out that there is something to go on with.

        Parameters
        ----------
        ledger
            ``identity``: what decides whether it is the same work; ``plan``: how it is cut; ``directories``: those of
            the dataset that are made.
        overwrite
            Whether an existing dataset, or parts of it, may be replaced, and unfinished other work be dropped.

        Returns
        -------
        dict or None
            The ledger of the unfinished work, if it is the same; None for a fresh start.

        Raises
        ------
        DestinationExistsError
            If the destination holds something that must not be replaced, or other unfinished work.
        """
        raise NotImplementedError

    def remove(self) -> None:
        """Remove it."""
        raise NotImplementedError

    def _begun_with_something_else(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> DestinationExistsError:
        return DestinationExistsError(
            f"{self._what} was begun with something else ({_differences(found, wanted)}) and is not finished",
            hint=f"run the former command to finish it, or give --overwrite to drop it, or remove {self.path}",
            where=self._what,
        )

    def _read_ledger(self) -> dict[str, Any] | None:
        try:
            value = json.loads((self.path / "ledger.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        except OSError as error:
            raise translate_os_error(error, "reading", self.path / "ledger.json") from None
        return value if isinstance(value, dict) else {}

    def _make(self, *more: Path) -> None:
        """Make the directories for scratch files, and remove what was half written."""
        for folder in (self.spool, self.parts, *more):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise translate_os_error(error, "making", folder) from None
        with suppress(OSError):
            for part in self.parts.iterdir():
                part.unlink()

    def _write(self, path: Path, data: bytes) -> None:
        part = path.with_name(path.name + ".part")
        try:
            part.write_bytes(data)
            part.replace(path)
        except OSError as error:
            raise translate_os_error(error, "writing", path) from None


class WorkDirectory(StateDirectory):
    """The work directory of a local destination; use as a context manager, which holds the lock.

    Parameters
    ----------
    destination
        The dataset's directory.
    scratch
        Where the spool goes instead of the work directory.
    parts
        The parts of the destination that are made, if it is not the whole.
    """

    def __init__(
        self, destination: str | os.PathLike[str], scratch: str | None = None, *, parts: PartsOfDataset | None = None
    ) -> None:
        self.destination = _absolute(destination)
        if not self.destination.name:
            raise UsageError(f"{destination} cannot be a destination", hint="name a directory to make")
        self._parts = parts
        name = self.destination.name if parts is None else f"{self.destination.name}.{parts.work}"
        super().__init__(self.destination.parent / WORK / name, str(self.destination))
        if scratch is None:
            self.spool = self.path / "spool"
        else:
            mark = hashlib.sha256(os.fsencode(self.destination)).hexdigest()[:12]
            self.spool = _absolute(scratch) / f"precast-{name}-{mark}"
        self.parts = self.path / "parts"
        self.out = self.path / "out"

    # ---- ledger

    def begin(self, ledger: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
        """See :meth:`StateDirectory.begin`."""
        self._finish_swap()
        self._check_destination(overwrite)
        found = self._read_ledger()
        if found is not None and found.get("identity") == ledger["identity"]:
            self._make(self.out)
            return found
        if found is not None and not overwrite:
            raise self._begun_with_something_else(found.get("identity", {}), ledger["identity"])
        self._clear()
        self._make(self.out)
        self._write(self.path / "ledger.json", json.dumps(ledger, indent=1).encode())
        return None

    def _targets(self) -> list[tuple[Path, Path, Path]]:
        """Return what is swapped: the new directory, where it belongs, where the old one goes meanwhile."""
        old = self.path / "old"
        if self._parts is None:
            return [(self.out, self.destination, old)]
        return [(self.out / name, self.destination / name, old / name) for name in self._parts.names]

    def _check_destination(self, overwrite: bool) -> None:
        merged = () if self._parts is None else self._parts.merged
        for _, target, _ in self._targets():
            _check_target(target, overwrite or target.name in merged)

    # ---- result

    @property
    def store(self) -> LocalStore:
        """The store of the growing dataset."""
        return LocalStore(self.out, self.parts)

    def commit(self) -> None:
        """Put what is complete into place and remove the work directory."""
        self._write(self.path / "ready", b"")
        self._finish_swap()
        self.remove()

    def _finish_swap(self) -> None:
        """Bring a swap to its end that was begun: by this process or by one that was killed."""
        if not (self.path / "ready").exists():
            return
        try:
            for new, target, old in self._targets():
                if new.exists():
                    if target.exists() and not old.exists():
                        old.parent.mkdir(parents=True, exist_ok=True)
                        target.rename(old)
                    new.rename(target)
            if self._parts is not None:
                self._parts.last(LocalStore(self.destination))
            self._clear()
        except OSError as error:
            raise translate_os_error(error, "putting into place", self.destination) from None

    def _clear(self) -> None:
        """Remove everything but the lock; the markers go last, so that a kill leaves a known state."""
        for name in ("out", "parts", "old"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        shutil.rmtree(self.spool, ignore_errors=True)
        for name in ("ledger.json", "ready"):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the work directory, and its parent if no other work is in it."""
        shutil.rmtree(self.spool, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self.path.parent.rmdir()


def unfinished_work(dataset: str | os.PathLike[str]) -> list[Path]:
    """Return the work directories of a dataset, or of parts of it, in which something was begun and is not finished."""
    place = _absolute(dataset)
    work = place.parent / WORK
    found = [place.name] if (work / place.name / "ledger.json").exists() else []
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(work.iterdir()):
            name, _, part = entry.name.rpartition(".")
            # a.b is work on the parts b of a, or on all of a dataset a.b
            if name == place.name and part and not (place.parent / entry.name).exists():
                found += [entry.name] if (entry / "ledger.json").exists() else []
    return [work / name for name in found]


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise DestinationExistsError(f"{target} is a file", hint="name a directory", where=str(target))
    try:
        if not any(target.iterdir()):
            return
    except OSError as error:
        raise translate_os_error(error, "reading", target) from None
    if not overwrite:
        raise DestinationExistsError(
            f"{target} exists already",
            hint="choose another destination, or give --overwrite: "
            "the old dataset stays whole until the new one is complete",
            where=str(target),
        )
    if not (target / "info").is_file():
        raise DestinationExistsError(
            f"{target} is not a precomputed dataset (no info file), so --overwrite leaves it alone",
            hint="choose another destination, or empty that directory yourself",
            where=str(target),
        )


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without ``..``; ``resolve`` would also follow a link at its end."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names: list[str] = []
    for key in sorted({*found, *wanted}):
        a, b = found.get(key), wanted.get(key)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            names.extend(f"{k}: {a.get(k)!r}" for k in sorted({*a, *b}) if a.get(k) != b.get(k))
        else:
            names.append(key)
    return ", ".join(names[:4]) or "unknown"


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StorageError(f"the destination's file system has no locks: {error.strerror}") from None
        return True
