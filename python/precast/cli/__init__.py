"""The command line: one file per verb; parse, call the API, render. Data on stdout, everything else on stderr."""

from __future__ import annotations
