"""The name of what Pallas gives to a kernel, and types as nothing."""

from __future__ import annotations

from typing import Any

Ref = Any
"""A block of memory that a kernel reads and writes, a barrier, or several of them as a pytree."""
