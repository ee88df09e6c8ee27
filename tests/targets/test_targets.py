"""Targets and losses of ASCL against the equations of the paper, computed in float64 with plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sslzoo.losses import LOSSES
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS

NAMES = ["one-hot", "hard", "adaptive-hard", "adaptive-soft"]


def make(name: str, **settings: float):
    part = TARGETS.get(name)
    return part(part.Config(**settings))


def make_loss(name: str, **settings: float):
    part = LOSSES.get(name)
    return part(part.Config(**settings))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=-1)


def restated(name: str, candidates: list[float], neighbors: float, temperature: float) -> list[float]:
    """Compute the weights y of [positive, candidates] of one anchor by the equations of the paper."""
    n = len(candidates)
    exponentials = [math.exp(s / temperature) for s in candidates]
    q = [e / sum(exponentials) for e in exponentials]
    c = 1 + sum(p * math.log(p) for p in q if p > 0) / math.log(n)
    if name == "one-hot":
        extra = [0.0] * n
    elif name == "adaptive-soft":
        extra = [min(1.0, c * neighbors * p) for p in q]
    else:
        top = sorted(range(n), key=lambda j: -candidates[j])[: int(neighbors)]
        extra = [(1.0 if name == "hard" else c) if j in top else 0.0 for j in range(n)]
    total = 1 + sum(extra)
    return [1 / total] + [e / total for e in extra]


@pytest.mark.parametrize("name", ["adaptive-hard", "adaptive-soft"])
def test_confidence_over_one_candidate_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match=r"needs at least 2 candidates and has 1; enlarge --method\.queue-size"):
        make(name)(torch.ones(4), torch.zeros(4, 1))


def restated_loss(student: list[float], y: list[float], temperature: float) -> float:
    log_sum = math.log(sum(math.exp(s / temperature) for s in student))
    return -sum(w * (s / temperature - log_sum) for w, s in zip(y, student, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("neighbors", [0, 1, 5])
def test_loss_equals_the_equation_of_the_paper(name: str, neighbors: int) -> None:
    query, key, queue = unit(6, 16, seed=1), unit(6, 16, seed=2), unit(40, 16, seed=3)
    settings = {} if name == "one-hot" else {"neighbors": neighbors}
    weights = make(name, **settings)((key * key).sum(1), key @ queue.T).weights
    student = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1)
    ours = make_loss("cross-entropy")(student, weights)
    for i in range(len(query)):
        y = restated(name, (key @ queue.T)[i].tolist(), neighbors, 0.05)
        assert weights[i].tolist() == pytest.approx(y, abs=1e-12)
        assert ours[i].item() == pytest.approx(restated_loss(student[i].tolist(), y, 0.1), abs=1e-10)


def test_hand_computed_case() -> None:
    # two candidates, q = (0.8, 0.2): H = 0.5004 nats, c = 1 - H / log 2 = 0.2781
    temperature = 0.05
    candidates = torch.tensor([[temperature * math.log(4), 0.0]], dtype=torch.float64)
    c = 1 + (0.8 * math.log(0.8) + 0.2 * math.log(0.2)) / math.log(2)
    assert c == pytest.approx(0.27807, abs=1e-5)
    positive = torch.ones(1, dtype=torch.float64)
    soft = make("adaptive-soft", neighbors=1)(positive, candidates)
    total = 1 + c
    assert soft.weights[0].tolist() == pytest.approx([1 / total, 0.8 * c / total, 0.2 * c / total], abs=1e-12)
    assert soft.logs["confidence"].item() == pytest.approx(c, abs=1e-12)
    hard = make("adaptive-hard", neighbors=1)(positive, candidates)
    assert hard.weights[0].tolist() == pytest.approx([1 / total, c / total, 0], abs=1e-12)
    # K = 10: c K q = (2.22, 0.556), the first is clamped to 1
    clamped = make("adaptive-soft", neighbors=10)(positive, candidates)
    total = 1 + 1 + 2 * c
    assert clamped.weights[0].tolist() == pytest.approx([1 / total, 1 / total, 2 * c / total], abs=1e-12)


@pytest.mark.parametrize("name", ["hard", "adaptive-hard", "adaptive-soft"])
def test_zero_neighbors_equal_moco(name: str) -> None:
    positive, candidates = torch.ones(8), unit(8, 64).float()
    assert torch.equal(
        make(name, neighbors=0)(positive, candidates).weights, make("one-hot")(positive, candidates).weights
    )


@pytest.mark.parametrize("name", ["adaptive-hard", "adaptive-soft"])
def test_infinite_teacher_temperature_equals_moco(name: str) -> None:
    positive, candidates = torch.ones(8, dtype=torch.float64), unit(8, 64)
    weights = make(name, temperature=1e12)(positive, candidates).weights
    torch.testing.assert_close(weights, make("one-hot")(positive, candidates).weights, atol=1e-10, rtol=0)


similarities = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30).map(lambda row: torch.tensor([row]))


@given(candidates=similarities, neighbors=st.floats(0, 20), temperature=st.floats(0.01, 2))
def test_adaptive_soft_weights_are_within_their_bounds(
    candidates: Tensor, neighbors: float, temperature: float
) -> None:
    out = make("adaptive-soft", neighbors=neighbors, temperature=temperature)(torch.ones(1), candidates)
    c = out.logs["confidence"].item()
    assert 0 <= c <= 1
    assert out.weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert (out.weights >= 0).all()
    assert out.weights[0, 0] == out.weights.max()
    assert out.logs["extra_mass"].item() <= c * neighbors + 1e-4


@given(candidates=similarities, neighbors=st.integers(0, 40))
def test_neighbors_of_hard_targets_have_the_stated_weight(candidates: Tensor, neighbors: int) -> None:
    counted = min(neighbors, candidates.shape[1])
    hard = make("hard", neighbors=neighbors)(torch.ones(1), candidates)
    assert hard.logs["extra_mass"].item() == pytest.approx(counted)
    adaptive = make("adaptive-hard", neighbors=neighbors)(torch.ones(1), candidates)
    expected = adaptive.logs["confidence"].item() * counted
    assert adaptive.logs["extra_mass"].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1000))
def test_order_of_candidates_does_not_matter(name: str, seed: int) -> None:
    candidates = unit(3, 20, seed=seed)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    weights = make(name)(torch.ones(3), candidates).weights
    shuffled = make(name)(torch.ones(3), candidates[:, order]).weights
    torch.testing.assert_close(weights[:, 1:][:, order], shuffled[:, 1:])


def test_confidence_of_a_random_queue_has_its_known_value() -> None:
    key, queue = unit(64, 128, seed=1), unit(4096, 128, seed=2)
    c = make("adaptive-soft")(torch.ones(64), key @ queue.T).logs["confidence"].item()
    assert c == pytest.approx(0.18, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_similarities_stay_finite(name: str) -> None:
    candidates = torch.full((2, 9), -1.0)
    candidates[:, 0] = 1.0
    weights = make(name)(torch.ones(2), candidates).weights
    loss = make_loss("cross-entropy")(torch.cat([-torch.ones(2, 1), candidates], 1), weights)
    assert torch.isfinite(weights).all()
    assert torch.isfinite(loss).all()


@pytest.mark.parametrize("name", NAMES)
def test_cosine_loss_equals_weighted_squared_distance(name: str) -> None:
    prediction, keys = unit(5, 8, seed=1), unit(12, 8, seed=2)
    student = prediction @ keys.T
    weights = make(name)(torch.ones(5), unit(5, 11, seed=3)).weights
    distance = ((prediction[:, None] - keys[None]) ** 2).sum(-1)  # 2 - 2 cos for unit vectors
    torch.testing.assert_close(make_loss("cosine")(student, weights), (weights * distance).sum(1), atol=1e-12, rtol=0)


def test_one_hot_loss_of_a_perfect_query_has_its_known_value() -> None:
    key, queue = unit(1, 16, seed=1), unit(50, 16, seed=2)
    student = torch.cat([torch.ones(1, 1, dtype=torch.float64), key @ queue.T], dim=1)
    weights = make("one-hot")(torch.ones(1), key @ queue.T).weights
    negatives = sum(math.exp(s / 0.1) for s in (key @ queue.T)[0].tolist())
    expected = -math.log(math.exp(10) / (math.exp(10) + negatives))
    assert make_loss("cross-entropy")(student, weights).item() == pytest.approx(expected, abs=1e-10)
