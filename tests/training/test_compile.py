"""Training with torch.compile agrees with training without it, up to rounding."""

from pathlib import Path
from shutil import which

import pytest
import torch
from test_command import MOCO, TINY, read_metrics
from test_command import run as run_command

from sslzoo.check.tiny import Tiny, run

pytestmark = pytest.mark.long


@pytest.mark.skipif(which("g++") is None and which("clang") is None, reason="compiling for a CPU needs a C++ compiler")
def test_compiled_losses_agree(tmp_path: Path) -> None:
    """Compare the eight steps of an epoch, each run in a new process for torch's compiler."""
    losses = []
    for more in ([], ["--compile"]):
        folder = tmp_path / f"run{len(more)}"
        flags = ["--method", "ascl", *TINY, *MOCO, "--epochs", "1", "--knn-every", "0", "--run-folder", folder]
        run_command(*flags, "--precision", "fp32", *more)
        losses.append([line["loss"] for line in read_metrics(folder) if "loss" in line])
    plain, compiled = losses
    assert len(plain) == 8
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert compiled != plain  # equal losses would mean that nothing was compiled


def test_chunked_loss_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled pass computes the chunked loss of a large queue without compiling it."""
    monkeypatch.setattr("sslzoo.modules.chunked.MOST_SIMILARITIES", 500)
    tiny = Tiny.of("--method", "ascl")
    plain, compiled = tiny.method(), tiny.method()
    compiled.compile(backend="eager")
    outputs = [run(method, tiny.sample()) for method in (plain, compiled)]
    for output in outputs:
        output.loss.backward()
    torch._dynamo.reset()
    torch.testing.assert_close(outputs[1].loss, outputs[0].loss)
    weights = [next(method.parameters()).grad for method in (plain, compiled)]
    torch.testing.assert_close(weights[1], weights[0])
