"""Freed memory is kept for the next step."""

import subprocess
import sys

import pytest

from sslzoo.runtime.allocator import keep_freed_memory, return_freed_memory

SCRIPT = """
import resource, torch
from sslzoo.runtime import allocator
print(int(allocator.{name}()))
for _ in range(2):
    for _ in range(5):
        tensors = [torch.ones(1 << 23) for _ in range(3)]  # 32 MiB each
        del tensors
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(1 << 23) for _ in range(3)]
    del tensors
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, int]:
    """Whether the setting was made, and the page faults of a loop of allocations in a new process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [sys.executable, "-c", SCRIPT.format(name=name)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    made, _, faults = map(int, done.stdout.split())
    return bool(made), faults


@pytest.mark.skipif(not keep_freed_memory(), reason="not glibc")
def test_kept_memory_causes_no_page_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    made, faults = run("keep_freed_memory", monkeypatch)
    assert made
    assert faults < 100
    made, faults = run("return_freed_memory", monkeypatch)
    assert made
    assert faults > 100


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_settings_of_the_user_have_precedence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()
    assert not return_freed_memory()
