"""Relational targets and losses against the equations of the papers, computed in float64 with plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sslzoo.experiment.compose import compose
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.method.combination import explain_mismatch
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS


def make(registry, name: str, **settings: float):
    part = registry.get(name)
    return part(part.Config(**settings))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=-1)


def softmax(row: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(s / temperature) for s in row]
    return [e / sum(exponentials) for e in exponentials]


@pytest.mark.parametrize(("teacher_t", "student_t"), [(0.04, 0.1), (0.01, 0.1), (0.3, 0.2)])
def test_ressl_is_the_cross_entropy_of_two_softmaxes_over_the_queue(teacher_t: float, student_t: float) -> None:
    query, key, queue = unit(5, 16, seed=1), unit(5, 16, seed=2), unit(30, 16, seed=3)
    weights = make(TARGETS, "relational", temperature=teacher_t)(torch.ones(5), key @ queue.T).weights
    student = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1)
    ours = make(LOSSES, "relational", temperature=student_t)(student, weights)
    for i in range(5):
        p = softmax([float(key[i] @ z) for z in queue], teacher_t)
        q = softmax([float(query[i] @ z) for z in queue], student_t)
        assert weights[i].tolist() == pytest.approx([0.0, *p], abs=1e-12)
        assert ours[i].item() == pytest.approx(-sum(a * math.log(b) for a, b in zip(p, q, strict=True)), abs=1e-10)


def test_relational_loss_ignores_the_positive() -> None:
    student = unit(4, 9).requires_grad_()
    weights = make(TARGETS, "relational")(torch.ones(4), unit(4, 8, seed=1)).weights
    make(LOSSES, "relational")(student, weights).sum().backward()
    assert (student.grad[:, 0] == 0).all()
    assert (student.grad[:, 1:] != 0).any()


def test_relational_loss_of_a_hand_computed_case() -> None:
    # similarities t log 4 and 0 give the target (0.8, 0.2); equal similarities of the student predict (0.5, 0.5)
    weights = make(TARGETS, "relational", temperature=0.04)(
        torch.ones(1), torch.tensor([[0.04 * math.log(4), 0.0]], dtype=torch.float64)
    ).weights
    assert weights[0].tolist() == pytest.approx([0, 0.8, 0.2], abs=1e-12)
    student = torch.tensor([[-1.0, 0.3, 0.3]], dtype=torch.float64)
    assert make(LOSSES, "relational")(student, weights).item() == pytest.approx(math.log(2), abs=1e-12)


def test_relational_loss_is_minimal_if_the_student_equals_the_teacher() -> None:
    candidates = unit(3, 20)
    weights = make(TARGETS, "relational", temperature=0.1)(torch.ones(3), candidates).weights
    student = torch.cat([torch.zeros(3, 1, dtype=torch.float64), candidates], dim=1).requires_grad_()
    make(LOSSES, "relational", temperature=0.1)(student, weights).sum().backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-12, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_sce_mixes_one_hot_and_relational_weights(share: float) -> None:
    key, queue = unit(4, 16, seed=2), unit(30, 16, seed=3)
    weights = make(TARGETS, "sce", positive_weight=share, temperature=0.07)(torch.ones(4), key @ queue.T).weights
    for i in range(4):
        p = softmax([float(key[i] @ z) for z in queue], 0.07)
        assert weights[i].tolist() == pytest.approx([share, *((1 - share) * w for w in p)], abs=1e-12)


def test_sce_with_extreme_weights_is_one_hot_or_relational() -> None:
    positive, candidates = torch.ones(4), unit(4, 12).float()
    ends = [make(TARGETS, "sce", positive_weight=w, temperature=0.04)(positive, candidates).weights for w in (1, 0)]
    others = [make(TARGETS, name)(positive, candidates).weights for name in ("one-hot", "relational")]
    for end, other in zip(ends, others, strict=True):
        assert torch.equal(end, other)


rows = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30).map(lambda row: torch.tensor([row]))


@pytest.mark.parametrize("name", ["relational", "sce"])
@given(candidates=rows, temperature=st.floats(0.01, 2), seed=st.integers(0, 99))
def test_weights_sum_to_one_and_follow_their_candidates(
    name: str, candidates: Tensor, temperature: float, seed: int
) -> None:
    target = make(TARGETS, name, temperature=temperature)
    weights = target(torch.ones(1), candidates).weights
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert (weights >= 0).all()
    order = torch.randperm(candidates.shape[1], generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(weights[:, 1:][:, order], target(torch.ones(1), candidates[:, order]).weights[:, 1:])
    torch.testing.assert_close(target(torch.ones(1), candidates - 0.25).weights, weights, atol=1e-4, rtol=0)


def test_relational_target_selects_its_loss_and_refuses_others() -> None:
    for method in ("moco", "byol"):
        assert compose(["--method", method, "--target", "relational"]).loss.name == "relational"
    for method, loss, reason in (
        ("moco", "cross-entropy", "relational gives no weight to the positive, but cross-entropy scores it"),
        ("byol", "cosine", "relational gives no weight to the positive, but cosine scores it"),
    ):
        assert explain_mismatch(METHODS.get(method), TARGETS.get("relational"), LOSSES.get(loss)) == reason
        with pytest.raises(UserError, match=reason):
            compose(["--method", method, "--target", "relational", "--loss", loss])
    with pytest.raises(UserError, match="relational ignores the positive, but sce gives weight to it"):
        compose(["--method", "sce", "--loss", "relational"])


def test_invalid_setting_is_a_one_line_error() -> None:
    with pytest.raises(UserError, match=r"positive_weight = 1\.5: input should be less than or equal to 1"):
        TARGETS.get("sce").Config(positive_weight=1.5)
    with pytest.raises(UserError, match="temperature = 0: input should be greater than 0"):
        LOSSES.get("relational").Config(temperature=0)


@pytest.mark.parametrize(("neighbors", "temperature"), [(1, 1.0), (5, 1.0), (5, 0.1), (30, 1.0), (99, 0.5)])
def test_soft_neighbors_share_the_weight_of_one_positive(neighbors: int, temperature: float) -> None:
    candidates = unit(4, 16, seed=2) @ unit(30, 16, seed=3).T
    target = make(TARGETS, "soft-neighbors", neighbors=neighbors, temperature=temperature)
    weights = target(torch.ones(4), candidates).weights
    for i, row in enumerate(candidates.tolist()):
        top = sorted(range(30), key=lambda j: -row[j])[:neighbors]
        attention = dict(zip(top, softmax([row[j] for j in top], temperature), strict=True))
        assert weights[i].tolist() == pytest.approx([0.5, *(attention.get(j, 0) / 2 for j in range(30))], abs=1e-12)
