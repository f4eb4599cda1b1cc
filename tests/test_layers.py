"""Rules about the source tree that the import linter cannot see."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_only_kernels_imports_the_native_module() -> None:
    importers = {
        file.parent.name
        for file in (ROOT / "python").rglob("*.py")
        if re.search(
            r"^\s*(from precast import .*_native|from precast\._native|import precast\._native)", file.read_text(), re.M
        )
    }
    assert importers == {"kernels"}


def test_version_is_the_same_everywhere() -> None:
    import precast
    from precast import kernels

    assert precast.__version__ == kernels.version
    assert f'version = "{precast.__version__}"' in (ROOT / "Cargo.toml").read_text()
