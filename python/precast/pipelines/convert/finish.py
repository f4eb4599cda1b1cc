"""The last steps: label table, provenance, and the ``info`` that makes it a dataset."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from precast import __version__, kernels
from precast.dataset.objects import attributes
from precast.errors import UsageError
from precast.pipelines.convert.plan import ConvertPlan
from precast.pipelines.convert.spool import labels_path, load_result
from precast.pipelines.convert.tasks import Places, block_name
from precast.precomputed.label_table import LABEL_ROW, merge_partial
from precast.precomputed.objects import INFO_KEY, LABEL_TABLE_KEY, PROVENANCE_KEY, ObjectKind
from precast.storage.base import translate_os_error

__all__ = ["ScaleTotals", "write_info", "write_label_table", "write_provenance"]


class ScaleTotals:
    """Sums over all blocks: chunks stored, their bytes, and the voxel digest, per scale."""

    def __init__(self, plan: ConvertPlan, places: Places) -> None:
        count = len(plan.scales)
        self.stored = [0] * count
        self.stored_bytes = [0] * count
        lanes = np.zeros((count, 2), np.uint64)
        for number, stage in enumerate(plan.stages):
            for index in range(stage.count):
                extra = load_result(places.spool, block_name(number, index)).extra
                lanes += extra["digests"]
                for k in range(count):
                    self.stored[k] += int(extra["stored"][k])
                    self.stored_bytes[k] += int(extra["stored_bytes"][k])
        self.digests = [
            kernels.format_digest((int(lane[0]), int(lane[1])), scale.box.size, plan.channels, plan.info.data_type)
            for lane, scale in zip(lanes, plan.scales, strict=True)
        ]


def write_label_table(plan: ConvertPlan, places: Places) -> int | None:
    """Write the label table of a segmentation and return its number of rows; None for an image."""
    if plan.info.kind != "segmentation":
        return None
    names = [block_name(0, index) for index in range(plan.stages[0].count)]
    raw, whole = places.parts / "labels.raw", places.parts / "labels.npy"
    count = 0
    try:
        parts = [_rows(labels_path(places.spool, name)) for name in names]
        with raw.open("wb") as file:
            for rows in merge_partial(parts, plan.scales[0].box.start):
                count += len(rows)
                file.write(rows.tobytes())
        with whole.open("wb") as out, raw.open("rb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(LABEL_ROW), "fortran_order": False, "shape": (count,)}
            np.lib.format.write_array_header_1_0(out, header)
            shutil.copyfileobj(file, out, 1 << 20)
        raw.unlink()
    except OSError as error:
        raise translate_os_error(error, "writing", whole) from None
    places.store.write_file(LABEL_TABLE_KEY, whole, attributes(ObjectKind.LABEL_TABLE))
    return count


def _rows(path: Path) -> Any:
    # an empty array cannot be mapped
    return np.load(path, mmap_mode="r") if path.stat().st_size > 4096 else np.load(path)


def write_provenance(plan: ConvertPlan, places: Places, sums: ScaleTotals) -> None:
    """Write how the dataset came to be, with what a checker needs to tell lost chunks from empty ones."""
    step: dict[str, Any] = {
        "tool": "precast",
        "version": __version__,
        "options": plan.options.result_options(),
        "source": {
            "name": plan.source.info.name,
            "fingerprint": plan.source.fingerprint().content,
            "shape_czyx": list(plan.source.info.shape),
            "dtype": str(plan.source.info.dtype),
        },
        "scales": [
            {
                "key": scale.key,
                "stored_chunks": sums.stored[k],
                "background_chunks": scale.grid.volume - sums.stored[k],
                "voxel_digest": sums.digests[k],
            }
            for k, scale in enumerate(plan.info.scales)
        ],
        "notes": [finding.message for finding in plan.source.info.findings],
    }
    date = _source_date()
    if date is not None:
        step["date"] = date
    value = {"description": "", "owners": [], "sources": [plan.source.info.name], "processing": [step]}
    data = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    places.store.write(PROVENANCE_KEY, data.encode(), attributes(ObjectKind.PROVENANCE))


def _source_date() -> str | None:
    """Return the date to record: only the one that SOURCE_DATE_EPOCH asks for, so that bytes are reproducible."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"the environment variable SOURCE_DATE_EPOCH must be seconds since 1970, got {text!r}"
        ) from None


def write_info(plan: ConvertPlan, places: Places) -> None:
    """Write ``info``: from now on it is a dataset."""
    places.store.write(INFO_KEY, plan.info.to_bytes(), attributes(ObjectKind.INFO))
