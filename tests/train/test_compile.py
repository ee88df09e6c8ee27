"""Training with torch.compile is training without it, to rounding."""

from pathlib import Path
from shutil import which

import pytest
import torch
from test_command import MOCO, TINY, metrics
from test_command import run as command

from sslzoo.check.tiny import Tiny, run

pytestmark = pytest.mark.long


@pytest.mark.skipif(which("g++") is None and which("clang") is None, reason="compiling for a CPU needs a C++ compiler")
def test_the_losses_are_the_same(tmp_path: Path) -> None:
    """Of the eight steps of an epoch, by the command line: torch's compiler wants a process of its own."""
    losses = []
    for more in ([], ["--compile"]):
        folder = tmp_path / f"run{len(more)}"
        flags = ["--method", "ascl", *TINY, *MOCO, "--epochs", "1", "--knn-every", "0", "--run-folder", folder]
        command(*flags, "--precision", "fp32", *more)
        losses.append([line["loss"] for line in metrics(folder) if "loss" in line])
    plain, compiled = losses
    assert len(plain) == 8
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert compiled != plain  # or nothing was compiled


def test_a_large_queue_is_compiled_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss in chunks stays as it is in a compiled pass."""
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
