"""Links from a volume to its parts: the last step that makes a part visible."""

from __future__ import annotations

import json

from precast.dataset.objects import rewrite
from precast.errors import FormatError, ObjectNotFoundError
from precast.precomputed.json_text import set_text_member
from precast.precomputed.objects import INFO_KEY, ObjectKind
from precast.storage import Store

__all__ = ["link_parts"]


def link_parts(store: Store, *, mesh: str | None = None, segment_properties: str | None = None) -> bool:
    """Enter parts of a dataset into the ``info`` of its volume, in one atomic step.

    Every other byte of ``info`` stays as it is, known or not; an ``info`` that is stored gzipped stays gzipped.
    Doing it again changes nothing.

    Parameters
    ----------
    store
        The dataset.
    mesh, segment_properties
        Directories inside the dataset; None leaves what is there.

    Returns
    -------
    bool
        Whether ``info`` had to be written.

    Raises
    ------
    ObjectNotFoundError
        If there is no ``info``.
    FormatError
        If it is not JSON.
    AccessDeniedError, StorageError
        If it cannot be read or written; then the old one is still there.
    """
    where = f"{store.url}/{INFO_KEY}"
    try:
        data = store.read(INFO_KEY)
    except ObjectNotFoundError:
        raise ObjectNotFoundError(
            f"{store.url} is not a precomputed volume: it has no info file",
            hint="give the directory that holds the info file",
            where=store.url,
        ) from None
    try:
        old = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise FormatError(f"{where} is not strict JSON: {error}", where=where) from None
    text = old
    for key, value in (("mesh", mesh), ("segment_properties", segment_properties)):
        if value is not None and _value(text, key, where) != value:
            text = set_text_member(text, key, value, where=where)
    if text == old:
        return False
    rewrite(store, INFO_KEY, text.encode(), ObjectKind.INFO)
    return True


def _value(text: str, key: str, where: str) -> object:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is not strict JSON: {error}", where=where) from None
    return value.get(key) if isinstance(value, dict) else None
