"""Large tensors are cheap, and the process does not grow."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sslzoo.runtime.allocator import prepare_allocator, restore_allocator

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

COUNT_FAULTS = """
import resource, torch
from sslzoo.runtime.launch import prepare_cpu
prepare_cpu(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(1 << 24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

GROW = """
import resource, torch
from sslzoo.runtime.launch import prepare_cpu
prepare_cpu(1)
kept = []
for number in range(60):
    table = torch.ones(3 << 23)  # 96 MiB
    found = table >= 0.5
    kept += [found[:100].nonzero().numpy() + number, table[:1000].clone().numpy()]
    del table, found
    if number == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def run(script: str) -> int:
    """Run a script in a new process with one thread, and return the number that it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the user."""
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


def record_thresholds(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Record the parameters that are set, instead of setting them."""
    made: dict[int, int] = {}
    libc = SimpleNamespace(mallopt=made.__setitem__)
    monkeypatch.setattr("sslzoo.runtime.allocator.ctypes.CDLL", lambda name: libc)
    return made


def test_freed_memory_is_kept_and_returned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = record_thresholds(monkeypatch)
    prepare_allocator()
    assert made == {-3: 32 << 20, -1: (2 << 30) - 1}
    restore_allocator()
    assert made == {-3: 32 << 20, -1: 64 << 20}


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_thresholds_of_the_user_have_precedence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = record_thresholds(monkeypatch)
    monkeypatch.setenv(name, "1")
    prepare_allocator()
    restore_allocator()
    assert not made


def test_choice_of_huge_pages_by_the_user_has_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    record_thresholds(monkeypatch)
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    prepare_allocator()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"
    assert run(COUNT_FAULTS) > 10_000


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(), reason="the system offers no huge pages"
)
def test_huge_pages_are_used() -> None:
    assert run(COUNT_FAULTS) < 2_000


def test_process_does_not_grow() -> None:
    """Large tables that are freed, between small arrays that are kept, as in a search for duplicates."""
    assert run(GROW) < 20 * 96
