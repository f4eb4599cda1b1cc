"""Whatever precast convert makes passes its check: any size, offset, chunk, factor and method."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import precast
from precast.checks import CheckOptions, check, diff

SMALL = st.tuples(*[st.integers(1, 23)] * 3)
OFFSET = st.tuples(*[st.integers(-9, 9)] * 3)
CHUNK = st.tuples(*[st.integers(3, 12)] * 3)
FACTORS = st.lists(st.sampled_from([(2, 2, 2), (2, 2, 1), (1, 1, 2), (3, 2, 1), (4, 4, 4)]), min_size=1, max_size=3)
FORMS: list[dict[str, Any]] = [
    {"kind": "segmentation"},
    {"kind": "segmentation", "sparse": True, "unsharded": True},
    {"kind": "segmentation", "method": "stride", "skip_background": True},
    {"kind": "image", "encoding": "raw", "method": "mean"},
    {"kind": "image", "encoding": "png", "method": "max", "unsharded": True},
    {"kind": "image", "encoding": "jpeg", "method": "min"},
]


def vector(values: tuple[int, ...]) -> str:
    return ",".join(str(value) for value in values)


@given(SMALL, OFFSET, CHUNK, FACTORS, st.sampled_from(FORMS), st.integers(0, 99))
@settings(max_examples=40)
def test_what_convert_makes_is_clean(
    size: tuple[int, ...], offset: tuple[int, ...], chunk: tuple[int, ...], factors: Any, form: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 4, size[::-1]).astype(np.uint8) * 60
    data[data.shape[0] // 2 :] = 0
    options = precast.ConvertOptions(
        resolution="8,8,10",
        chunk_size=vector(chunk),
        offset=vector(offset),
        factors=";".join(vector(factor) for factor in factors),
        **form,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v"
        precast.convert(data, path, options)
        report = check(path, CheckOptions(threads=2, memory=int(rng.choice([1000, 20000, 10**8]))))
        assert report.findings == ()
        for scale in report.datasets[0].scales:
            assert scale.digest == "verified"
            assert scale.decoded == scale.stored == scale.chunks - scale.absent
        assert check(path, CheckOptions(sample=0.3, seed=seed)).findings == ()
        (path / "provenance").unlink()  # as if another program had made it
        assert [finding.code for finding in check(path).findings if finding.code != "PC200"] == []
        assert diff(path, path).equal
