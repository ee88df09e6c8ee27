"""Captured passes, with a fake CUDA graph that runs the pass again on the captured inputs."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from sslzoo.method.base import MethodOutput
from sslzoo.training.capture import WARMUP_PASSES, CapturedPass, Pass, PassInputs, PassResult


class FakeStream:
    """A stream that waits for no other."""

    def wait_stream(self, other: object) -> None:
        pass


class FakeGraph:
    """Runs the pass again on replay and copies the result into the tensors of the captured pass."""

    def replay(self) -> None:
        captured = self.captured
        for parameter in captured.parameters:
            parameter.grad = None
        result = self.compute(captured._inputs)
        for name in ("loss", "embeddings"):
            getattr(captured._result.output, name).copy_(getattr(result.output, name))
        captured._result.finite_flags.copy_(result.finite_flags)
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


def create_passes() -> tuple[nn.Linear, Pass, Pass, list[int]]:
    """Create a model, its pass, the captured pass, and the list of batch sizes that the pass has been called with."""
    torch.manual_seed(0)
    model, seen = nn.Linear(3, 2), []

    def compute(inputs: PassInputs) -> PassResult:
        seen.append(len(inputs.ids))
        assert model.weight.grad is None
        out = model(inputs.views[0])
        loss = (out * inputs.labels[:, None]).square().mean()
        loss.backward()
        return PassResult(MethodOutput(loss.detach(), {}, out.detach()), torch.isfinite(loss.detach())[None])

    return model, compute, partial(CapturedPass(list(model.parameters())), compute), seen


def create_inputs(seed: int, count: int = 4) -> PassInputs:
    generator = torch.Generator().manual_seed(seed)
    return PassInputs(
        [torch.randn(count, 3, generator=generator)], torch.arange(count), torch.arange(count) + seed
    )  # fmt: skip


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make fake graphs know the pass that they captured."""
    capture_pass = CapturedPass._capture

    def capture_and_store(self: CapturedPass, compute: Pass, inputs: PassInputs) -> None:
        capture_pass(self, compute, inputs)
        assert isinstance(self._graph, FakeGraph)
        self._graph.captured, self._graph.compute = self, compute

    monkeypatch.setattr(CapturedPass, "_capture", capture_and_store)


@pytest.mark.usefixtures("replays")
def test_captured_pass_has_the_results_and_gradients_of_the_pass() -> None:
    model, _, captured, _ = create_passes()
    same, plain, _, _ = create_passes()
    for step in range(2 * WARMUP_PASSES):
        inputs = create_inputs(step)
        result = captured(inputs)
        for parameter in same.parameters():
            parameter.grad = None
        expected = plain(inputs)
        assert torch.equal(result.output.loss, expected.output.loss)
        assert torch.equal(result.finite_flags, expected.finite_flags)
        for one, other in zip(model.parameters(), same.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)
            one.grad = None  # as an optimizer does after its step


@pytest.mark.usefixtures("replays")
def test_replay_restores_gradients_that_were_set_to_none() -> None:
    """Methods drop gradients of a step by setting them to None; the next step needs them again."""
    model, _, captured, _ = create_passes()
    for step in range(WARMUP_PASSES + 2):
        captured(create_inputs(step))
        assert model.weight.grad is not None
        model.weight.grad = None


@pytest.mark.usefixtures("replays")
def test_gradients_clipped_in_place_are_computed_anew_by_the_next_replay() -> None:
    model, _, captured, _ = create_passes()
    same, plain, _, _ = create_passes()
    for step in range(2 * WARMUP_PASSES):
        captured(create_inputs(step))
        plain(create_inputs(step))
        for one, other in zip(model.parameters(), same.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)
            one.grad.mul_(0.1)
            other.grad = None


@pytest.mark.usefixtures("replays")
def test_other_batch_size_runs_without_the_graph() -> None:
    model, _, captured, seen = create_passes()
    for step in range(WARMUP_PASSES + 1):
        captured(create_inputs(step))
    seen.clear()
    result = captured(create_inputs(9, count=2))
    assert seen == [2]
    assert len(result.output.embeddings) == 2
    expected = create_passes()[1](create_inputs(9, count=2))
    assert torch.equal(result.output.loss, expected.output.loss)
    captured(create_inputs(1))
    assert seen == [2, 4]  # the fake graph calls the pass on replay
    assert model.weight.grad is not None
