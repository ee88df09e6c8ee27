"""Losses and targets scored one row at a time, as a large queue makes them, against whole tables."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sslzoo.methods.moco import MoCo
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny
from sslzoo.losses import LOSSES
from sslzoo.method.combination import explain_mismatch
from sslzoo.method.pair import PairMethod
from sslzoo.modules import chunked
from sslzoo.modules.chunked import Scored
from sslzoo.targets import TARGETS

PAIRS = [
    (target, loss)
    for target, cls in TARGETS
    for loss, scored in LOSSES
    if not cls.supervised and scored.repels and explain_mismatch(MoCo, cls, scored) is None
]
"""Every target with every loss that goes with it on MoCo."""
ATTRACT = [("one-hot", name) for name, loss in LOSSES if not loss.repels]
"""Losses that only attract need a predictor: on MSF."""


@cache
def make(target: str, loss: str) -> PairMethod:
    name = "moco" if LOSSES.get(loss).repels else "msf"
    method = Tiny.of("--method", name, "--target", target, "--loss", loss).method()
    assert isinstance(method, PairMethod)
    return method


def units(seed: int, count: int) -> Tensor:
    return F.normalize(torch.randn(count, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def test_every_loss_and_target_is_among_the_pairs() -> None:
    pairs = PAIRS + ATTRACT
    assert {loss for _, loss in pairs} == set(LOSSES.names())
    assert {target for target, _ in pairs} == {name for name, target in TARGETS if not target.supervised}


@pytest.mark.parametrize(("target", "loss"), PAIRS + ATTRACT)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31 - 10), count=st.integers(2, 9), candidates=st.integers(2, 40))
def test_rows_scored_one_by_one_equal_the_whole_table(
    target: str, loss: str, seed: int, count: int, candidates: int
) -> None:
    """Loss, gradient and logs in float64, for any batch and queue."""
    method = make(target, loss)
    query, key, queue = (units(seed + i, n) for i, n in enumerate((count, count, candidates)))
    query.requires_grad_()

    def score(query: Tensor, key: Tensor) -> Scored:
        return method.score(
            student_positive=(query * key).sum(dim=1),
            student_candidates=query @ queue.T,
            teacher_positive=torch.ones_like(key[:, 0]),
            teacher_candidates=key @ queue.T,
        )

    whole, logs = score(query, key)
    expected = torch.autograd.grad(whole, query)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "MOST_SIMILARITIES", 1)
        found, values = method.score_in_chunks(score, query, key, candidates=candidates)
    torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(found, query)[0], expected, rtol=1e-10, atol=1e-12)
    assert values.keys() == logs.keys()
    for log, value in logs.items():
        torch.testing.assert_close(values[log], value, rtol=1e-10, atol=1e-12)


def test_same_class_weights_rows_one_by_one() -> None:
    """The target of supervised methods, whose similarities are 0 and 1."""
    target = TARGETS.get("same-class")
    relations = (torch.rand(6, 11, generator=torch.Generator().manual_seed(0)) > 0.7).double()
    whole = target(target.Config())(torch.ones(6), relations).weights
    rows = [target(target.Config())(torch.ones(1), row).weights for row in relations.split(1)]
    torch.testing.assert_close(torch.cat(rows), whole)


def test_dclw_with_a_queue_of_65536_has_the_weights_of_the_whole_batch() -> None:
    """64 images in chunks of 32 rows once gave 17.0457 for 17.0494."""
    method = Tiny.of("--method", "moco", "--loss", "decoupled-weighted", "--method.queue-size", "65536").method()
    generator = torch.Generator().manual_seed(0)
    query, key = (F.normalize(torch.randn(64, 64, generator=generator)) for _ in range(2))
    s = (query.double() * key.double()).sum(dim=1)
    weights = 2 - len(s) * (s / 0.5).softmax(dim=0)
    negatives = (query.double() @ method.queue.keys.double().T / 0.1).logsumexp(dim=1)
    expected = (negatives - weights * s / 0.1).mean()
    assert method.contrast(query, key).loss.item() == pytest.approx(expected.item(), abs=1e-4)
