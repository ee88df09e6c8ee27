"""A replayed pass, with a stand-in for CUDA graphs that runs the pass again on the recorded inputs."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from sslzoo.method.base import MethodOutput
from sslzoo.train import capture
from sslzoo.train.capture import WARM_UP, CapturedPass, Inputs, Pass, Result


class FakeStream:
    """Waits for nobody."""

    def wait_stream(self, other: object) -> None:
        pass


class FakeGraph:
    """Runs the pass again, and copies what came out to where the recorded pass left it."""

    def replay(self) -> None:
        captured = self.captured
        for parameter in captured.parameters:
            parameter.grad = None
        result = self.compute(captured._inputs)
        for name in ("loss", "embeddings"):
            getattr(captured._result.output, name).copy_(getattr(result.output, name))
        captured._result.finite.copy_(result.finite)
        for parameter, gradient in zip(captured.parameters, captured._gradients, strict=True):
            gradient.copy_(parameter.grad)
            parameter.grad = None


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def record(graph: FakeGraph, **settings: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", record)


def passes() -> tuple[nn.Linear, Pass, Pass, list[int]]:
    """A model, its pass, its captured one, and the batch sizes of the passes that ran as they are or were recorded."""
    torch.manual_seed(0)
    model, seen = nn.Linear(3, 2), []

    def compute(inputs: Inputs) -> Result:
        seen.append(len(inputs.ids))
        assert model.weight.grad is None
        out = model(inputs.views[0])
        loss = (out * inputs.labels[:, None]).square().mean()
        loss.backward()
        return Result(MethodOutput(loss.detach(), {}, out.detach()), torch.isfinite(loss.detach())[None])

    return model, compute, partial(CapturedPass(list(model.parameters())), compute), seen


def inputs(seed: int, count: int = 4) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    return Inputs(
        [torch.randn(count, 3, generator=generator)], torch.arange(count), torch.arange(count) + seed
    )  # fmt: skip


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs know whose pass they hold."""
    record = CapturedPass._record

    def known(self: CapturedPass, compute: Pass, given: Inputs) -> None:
        record(self, compute, given)
        assert isinstance(self._graph, FakeGraph)
        self._graph.captured, self._graph.compute = self, compute

    monkeypatch.setattr(capture.CapturedPass, "_record", known)


@pytest.mark.usefixtures("replays")
def test_results_and_gradients_are_those_of_the_pass() -> None:
    model, _, captured, _ = passes()
    same, plain, _, _ = passes()
    for step in range(2 * WARM_UP):
        given = inputs(step)
        result = captured(given)
        for parameter in same.parameters():
            parameter.grad = None
        expected = plain(given)
        assert torch.equal(result.output.loss, expected.output.loss)
        assert torch.equal(result.finite, expected.finite)
        for one, other in zip(model.parameters(), same.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)
            one.grad = None  # as an optimizer does after its step


@pytest.mark.usefixtures("replays")
def test_a_withheld_gradient_returns() -> None:
    """Methods withhold gradients by setting them to None; the next replay has them again."""
    model, _, captured, _ = passes()
    for step in range(WARM_UP + 2):
        captured(inputs(step))
        assert model.weight.grad is not None
        model.weight.grad = None


@pytest.mark.usefixtures("replays")
def test_gradients_clipped_in_place_are_computed_anew_by_the_next_replay() -> None:
    model, _, captured, _ = passes()
    same, plain, _, _ = passes()
    for step in range(2 * WARM_UP):
        captured(inputs(step))
        plain(inputs(step))
        for one, other in zip(model.parameters(), same.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)
            one.grad.mul_(0.1)
            other.grad = None


@pytest.mark.usefixtures("replays")
def test_another_batch_size_runs_as_it_is() -> None:
    model, _, captured, seen = passes()
    for step in range(WARM_UP + 1):
        captured(inputs(step))
    seen.clear()
    result = captured(inputs(9, count=2))
    assert seen == [2]
    assert len(result.output.embeddings) == 2
    expected = passes()[1](inputs(9, count=2))
    assert torch.equal(result.output.loss, expected.output.loss)
    captured(inputs(1))
    assert seen == [2, 4]  # the stand-in's replay
    assert model.weight.grad is not None
