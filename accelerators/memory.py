"""Keep the memory that an update frees for the next one.

glibc hands large blocks back to the system as soon as they are free, and the system gives them out
again page by page, zeroed: up to a sixth of a training run's time on images.
"""

from __future__ import annotations

import ctypes
import functools
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


@functools.cache
def keep_freed_memory(below: int = 2**30) -> bool:
    """Let this process reuse freed blocks instead of returning them; once, for all that follows.

    Does nothing where the user set glibc's own environment variables, or without glibc.

    Args:
        below: Size in bytes up to which blocks are kept.

    Returns:
        Whether it was done.
    """
    if any(name in os.environ for name in _SETTINGS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, below) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
