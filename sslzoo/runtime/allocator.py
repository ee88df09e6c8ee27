"""Keep the memory of freed tensors in the process: steps on a CPU free and allocate the same sizes again."""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let glibc reuse freed memory instead of returning it to the system, which would clear it page by page later.

    Does nothing with another C library, or if the user has set these thresholds in the environment.

    Returns:
        Whether the setting was made.
    """
    return _set_thresholds(mmap=1 << 30, trim=(1 << 31) - 1)


def return_freed_memory() -> bool:
    """Let glibc return freed memory as it does by default once a process has used large arrays.

    Returns:
        Whether the setting was made; see `keep_freed_memory`.
    """
    return _set_thresholds(mmap=1 << 25, trim=1 << 26)


def _set_thresholds(*, mmap: int, trim: int) -> bool:
    """Set the bytes from which memory is mapped for one array only, and from which free memory is returned."""
    if any(name in os.environ for name in _SET_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function, or no such way to find it
        return False
    return bool(mallopt(_MMAP_THRESHOLD, mmap) and mallopt(_TRIM_THRESHOLD, trim))
