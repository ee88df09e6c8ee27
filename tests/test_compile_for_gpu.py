"""Triton kernels compile for GPUs without register spills; no GPU is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

SCRIPT = Path(__file__).with_name("compile_for_gpu.py")


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_without_spills(capability: int) -> None:
    """Compile to machine code for A100 and H100, in a separate process in which kernels are not interpreted."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(capability)],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    usages = json.loads(done.stdout)
    assert {usage["kernel"] for usage in usages} >= {"augment_image", "sum_chunks", "normalize", "propagate"}
    for usage in usages:
        assert usage["local_bytes"] == 0, usage
        threads = usage.get("num_warps", 4) * 32
        assert usage["registers"] * threads <= 65536 // 2, usage  # two programs fit a multiprocessor
