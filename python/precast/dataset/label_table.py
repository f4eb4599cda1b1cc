"""The label table that is stored beside a segmentation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from precast.errors import FormatError, ObjectNotFoundError
from precast.precomputed.label_table import LABEL_ROW
from precast.precomputed.objects import LABEL_TABLE_KEY
from precast.storage import Store

__all__ = ["read_label_table"]

Array = npt.NDArray[Any]


def read_label_table(store: Store) -> Array | None:
    """Return the stored label table of a dataset, None if there is none.

    Raises
    ------
    FormatError
        If it is not a label table.
    """
    where = f"{store.url}/{LABEL_TABLE_KEY}"
    try:
        data = store.read(LABEL_TABLE_KEY)
    except ObjectNotFoundError:
        return None
    hint = "remove the file to have the labels counted anew"
    try:
        rows = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"{where} is damaged: {error}", hint=hint, where=where) from None
    if not isinstance(rows, np.ndarray) or rows.dtype != LABEL_ROW or rows.ndim != 1:
        raise FormatError(f"{where} is not a label table: other fields are expected", hint=hint, where=where)
    if (rows["id"][1:] <= rows["id"][:-1]).any():
        raise FormatError(f"{where} is damaged: its ids do not ascend", hint=hint, where=where)
    return rows
