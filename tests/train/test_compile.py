"""Training with torch.compile is training without it, to rounding."""

from shutil import which

import pytest
import torch

from sslzoo.check.tiny import Tiny, run
from sslzoo.compose import compose
from sslzoo.data.load import load_data
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.setup import create_learner, start_accelerator
from sslzoo.train.step import Stepper

SMALL = ["--backbone.kwargs", "{channels: [4, 4, 4, 4]}", "--dataset.limit", "256", "--batch-size", "64"]


def losses(*flags: str) -> list[float]:
    """Of the first steps."""
    experiment = compose([*SMALL, "--schedule.warmup-epochs", "0", *flags])
    data = load_data(experiment.dataset)
    accelerator = start_accelerator(experiment)
    learner = create_learner(experiment, data, accelerator)
    stepper = Stepper(experiment, data.train, learner, accelerator, IntervalMeans())
    learner.model.train()
    batches = stepper.batches(0, skip=0)
    return [stepper.optimise(batches, 0).loss.item() for _ in range(4)]


@pytest.mark.skipif(which("g++") is None and which("clang") is None, reason="compiling for a CPU needs a C++ compiler")
def test_the_losses_are_the_same() -> None:
    plain, compiled = losses("--method", "ascl"), losses("--method", "ascl", "--compile")
    torch._dynamo.reset()
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert plain[0] != plain[-1]


def test_a_large_queue_is_compiled_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss in pieces stays as it is in a compiled pass."""
    monkeypatch.setattr("sslzoo.pieces.MOST_SIMILARITIES", 500)
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
