"""Losses in chunks equal those of the whole batch, and need less memory."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from sslzoo.check.tiny import Tiny, run
from sslzoo.method.base import METHODS
from sslzoo.method.pair import PairMethod
from sslzoo.modules import chunked
from sslzoo.modules.chunked import Scored, mean_in_chunks
from sslzoo.plan.memory import TensorMemory


def gradients(model: nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", [name for name, method in METHODS if issubclass(method, PairMethod)])
def test_every_method_has_the_same_loss_and_gradient_in_chunks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny.of("--method", name)
    results = []
    for most in (chunked.MOST_SIMILARITIES, 70):
        monkeypatch.setattr(chunked, "MOST_SIMILARITIES", most)
        method = tiny.method()
        output = run(method, tiny.sample())
        output.loss.backward()
        results.append((output, gradients(method)))
    (whole, expected), (in_chunks, actual) = results
    torch.testing.assert_close(in_chunks.loss, whole.loss, rtol=1e-5, atol=1e-6)
    assert in_chunks.logs.keys() == whole.logs.keys()
    for key, value in whole.logs.items():
        torch.testing.assert_close(in_chunks.logs[key], value, rtol=1e-4, atol=1e-5)
    largest = max(g.abs().max() for g in expected if g is not None)
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert (ours - theirs).abs().max() < 1e-5 * largest


@pytest.mark.parametrize(("rows", "count"), list(product([1, 3, 7], [7, 10])))
def test_chunks_of_any_size_equal_the_whole_in_float64(rows: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of shared tensors are equal too: the candidates, and a learned temperature."""
    generator = torch.Generator().manual_seed(0)
    anchors, candidates = (
        torch.randn(n, 4, generator=generator, dtype=torch.float64).requires_grad_() for n in (count, 5)
    )
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    inputs = [anchors, candidates, temperature]

    def score(rows: Tensor) -> Scored:
        losses = (rows @ candidates.T / temperature).logsumexp(dim=1)
        return losses.mean(), {"mean": rows.detach().mean()}

    whole, logs = score(anchors)
    expected = torch.autograd.grad(3 * whole, inputs)
    monkeypatch.setattr(chunked, "MOST_SIMILARITIES", rows * 5)
    loss, chunk_logs = mean_in_chunks(score, [anchors], candidates=5, shared=[candidates, temperature])
    torch.testing.assert_close(loss.double(), whole.double())
    torch.testing.assert_close(chunk_logs["mean"], logs["mean"])
    for ours, theirs in zip(torch.autograd.grad(3 * loss, inputs), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("grad_enabled", [True, False])
def test_loss_without_gradient(grad_enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = torch.arange(6.0).view(3, 2)
    weight = torch.tensor(2.0, requires_grad=not grad_enabled)
    monkeypatch.setattr(chunked, "MOST_SIMILARITIES", 1)

    def score(rows: Tensor) -> Scored:
        return (weight * rows).mean(), {}

    with torch.set_grad_enabled(grad_enabled):
        loss, _ = mean_in_chunks(score, [anchors], candidates=1, shared=[weight])
    assert loss.item() == 5
    assert not loss.requires_grad


def test_queue_of_65536_keys_needs_less_than_two_tables() -> None:
    """Count the memory of all tensors in a step of MoCo with ASCL's target."""
    batch, queue = 256, 65_536
    method = Tiny.of("--method", "ascl", "--method.queue-size", str(queue)).method()
    table = 4 * batch * queue
    query = torch.randn(batch, method.queue.keys.shape[1], requires_grad=True)
    key = torch.randn(batch, method.queue.keys.shape[1])

    with TensorMemory() as memory:
        method.contrast(query, key).loss.backward()
    assert 0 < memory.peak < 2 * table
