"""Where the chunks of a scale lie, if not where they should: asked when the first one is not there.

That a chunk is absent means zeros. That all are means that the scale was not written, not copied, or lies there in a
form that precast does not know; whoever takes those for zeros works on with nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from precast.errors import FormatError, ObjectNotFoundError
from precast.precomputed.chunk_names import from_folders
from precast.precomputed.info import ScaleInfo
from precast.precomputed.objects import PROVENANCE_KEY
from precast.precomputed.provenance import Provenance
from precast.storage import HttpStore, Store

__all__ = ["ScaleLayout"]


class ScaleLayout:
    """What one look at the directory of a scale tells. Safe to share between threads; pickles.

    Parameters
    ----------
    store, info
        Where the dataset is, and the scale.
    """

    def __init__(self, store: Store, info: ScaleInfo) -> None:
        self.store = store
        self.info = info
        self._folders: bool | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ScaleLayout, (self.store, self.info)

    @property
    def where(self) -> str:
        """The directory, for people."""
        return f"{self.store.url}/{self.info.key}"

    def in_folders(self) -> bool:
        """Return whether the chunks lie in a folder per axis.

        Raises
        ------
        FormatError
            If no chunk is there at all, and nothing says that all are empty. Of what cannot be listed, a web server,
            that is not known.
        """
        with self._lock:
            if self._folders is None:
                self._folders = self._look()
            return self._folders

    def _look(self) -> bool:
        if isinstance(self.store, HttpStore):
            return False
        other = ""
        for name in self._names():
            if self.info.sharding is not None:
                if name.endswith(".shard"):
                    return False
            else:
                flat, folders = from_folders(name)
                if self.info.cell_of(flat) is not None:
                    return folders
            other = other or name
        if self._is_empty():
            return False
        what = "shards" if self.info.sharding is not None else f"{self.info.grid.volume} chunks"
        text = f"{self.where} holds none of the {what} of this scale"
        raise FormatError(
            f"{text}, but for example {other}" if other else text,
            hint="what lies there is of another form; precast check says which"
            if other
            else "the scale was not written, or not copied as a whole: write or copy it again",
            where=self.where,
        )

    def _names(self) -> Iterator[str]:
        prefix = f"{self.info.key}/"
        return (stat.key.removeprefix(prefix) for stat in self.store.list(prefix))

    def _is_empty(self) -> bool:
        """Return whether the conversion wrote down that the scale has nothing but zeros."""
        try:
            record = Provenance.parse(self.store.read(PROVENANCE_KEY)).scale(self.info.key)
        except ObjectNotFoundError:
            return False
        return record is not None and record.stored_chunks == 0
