"""Make large tensors on a CPU cheaper: a step frees and allocates the same sizes, and the system clears their pages."""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
MAPPED = 1 << 25
"""Bytes from which an allocation is mapped for itself and returned when it is freed: 32 MiB, glibc's largest default.

Larger allocations on the heap would leave holes that they do not fit into again, and the process would grow."""


def prepare_allocator() -> None:
    """Let torch use huge pages, and glibc keep freed memory of allocations below `MAPPED` for the next step.

    Huge pages need a system that offers them (`madvise` or `always` in transparent_hugepage/enabled). torch reads the
    setting at its first allocation, so that it stays for the rest of the process. A value in the environment is kept.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _set_trim_threshold((1 << 31) - 1)


def restore_allocator() -> None:
    """Let glibc return freed memory as it does by default once a process has used large arrays."""
    _set_trim_threshold(2 * MAPPED)


def _set_trim_threshold(size: int) -> None:
    """Set the bytes of free memory at the end of the heap from which it is returned to the system.

    Does nothing with another C library, or if the user has set glibc's thresholds in the environment.
    """
    if any(name in os.environ for name in _SET_BY_USER):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function, or no such way to find it
        return
    mallopt(_MMAP_THRESHOLD, MAPPED)
    mallopt(_TRIM_THRESHOLD, size)
