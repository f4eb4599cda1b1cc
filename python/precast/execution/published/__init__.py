"""Places that were published to: what is there, sending to them, and which generation their readers see."""

from __future__ import annotations
