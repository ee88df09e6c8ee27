"""Variants of cross-entropy against the equations of the papers, computed in float64 with plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sslzoo.experiment.compose import compose
from sslzoo.losses import LOSSES, Loss
from sslzoo.runtime.errors import UserError

NAMES = ["decoupled", "decoupled-weighted", "debiased", "hard-negative", "dual-temperature"]


def make(name: str, **settings: float) -> Loss:
    part = LOSSES.get(name)
    return part(part.Config(name=name, **settings))


def cosines(rows: int = 6, columns: int = 20, seed: int = 0) -> Tensor:
    return torch.rand(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def one_hot(student: Tensor) -> Tensor:
    weights = torch.zeros_like(student)
    weights[:, 0] = 1
    return weights


def decoupled(row: list[float], positives: list[float]) -> float:
    return -row[0] / 0.1 + math.log(sum(math.exp(s / 0.1) for s in row[1:]))


def decoupled_weighted(row: list[float], positives: list[float]) -> float:
    mean = sum(math.exp(s / 0.5) for s in positives) / len(positives)
    weight = 2 - math.exp(row[0] / 0.5) / mean
    return -weight * row[0] / 0.1 + math.log(sum(math.exp(s / 0.1) for s in row[1:]))


def debiased(row: list[float], positives: list[float]) -> float:
    positive, negatives = math.exp(row[0] / 0.5), [math.exp(s / 0.5) for s in row[1:]]
    n = len(negatives)
    g = max((sum(negatives) / n - 0.1 * positive) / 0.9, math.exp(-1 / 0.5))
    return -math.log(positive / (positive + n * g))


def hard_negative(row: list[float], positives: list[float]) -> float:
    positive, negatives = math.exp(row[0] / 0.5), [math.exp(s / 0.5) for s in row[1:]]
    n = len(negatives)
    importance = [x**1.0 for x in negatives]
    mean = sum(importance) / n
    weighed = sum(i / mean * x for i, x in zip(importance, negatives, strict=True)) / n
    g = max((weighed - 0.1 * positive) / 0.9, math.exp(-1 / 0.5))
    return -math.log(positive / (positive + n * g))


def dual_temperature(row: list[float], positives: list[float]) -> float:
    def first(temperature: float) -> float:
        return math.exp(row[0] / temperature) / sum(math.exp(s / temperature) for s in row)

    return (1 - first(1.0)) / (1 - first(0.1)) * -math.log(first(0.1))


RESTATED = dict(
    zip(NAMES, [decoupled, decoupled_weighted, debiased, hard_negative, dual_temperature], strict=True),
)


@pytest.mark.parametrize("name", NAMES)
def test_loss_equals_the_equation_of_the_paper(name: str) -> None:
    student = cosines()
    student[0, 0], student[1, 0] = 1.0, -1.0
    ours = make(name)(student, one_hot(student))
    positives = student[:, 0].tolist()
    for row, loss in zip(student.tolist(), ours.tolist(), strict=True):
        assert loss == pytest.approx(RESTATED[name](row, positives), abs=1e-10)


def test_hand_computed_cases() -> None:
    # s = (1, 0, 0): DCL is -10 + log 2; the factor of DCLW is 1 if all positives are equally similar
    student = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    for name in ("decoupled", "decoupled-weighted"):
        assert make(name)(student, one_hot(student)).item() == pytest.approx(-10 + math.log(2), abs=1e-12)
    # p = e^2, S = 2, c = 1/2: the estimate 2 (2 - e^2) < 0 is replaced by the minimum, 2 e^-2
    loss = make("debiased", class_prior=0.5)(student, one_hot(student)).item()
    assert loss == pytest.approx(math.log(1 + 2 * math.exp(-4)), abs=1e-12)
    # p_0 = 1/2 at any temperature if the only candidate is as similar as the positive
    student = torch.zeros(1, 2, dtype=torch.float64)
    assert make("dual-temperature")(student, one_hot(student)).item() == pytest.approx(math.log(2), abs=1e-12)


def test_special_cases_equal_cross_entropy() -> None:
    student = cosines()
    weights = one_hot(student)
    usual = make("cross-entropy", temperature=0.5)(student, weights)
    for name, settings in (
        ("debiased", {"class_prior": 0}),
        ("hard-negative", {"class_prior": 0, "beta": 0}),
        ("dual-temperature", {"inter_temperature": 0.5}),
    ):
        torch.testing.assert_close(make(name, temperature=0.5, **settings)(student, weights), usual)
    torch.testing.assert_close(make("hard-negative", beta=0)(student, weights), make("debiased")(student, weights))


def test_decoupled_is_cross_entropy_without_the_positive_in_the_denominator() -> None:
    student, weights = cosines(), cosines(seed=1).softmax(dim=1)
    share = (student / 0.1).softmax(dim=1)[:, 0]
    usual = make("cross-entropy")(student, weights)
    torch.testing.assert_close(make("decoupled")(student, weights), usual + (1 - share).log())


def test_factor_of_dclw_is_1_on_average_larger_for_dissimilar_positives_and_without_gradient() -> None:
    student = cosines().requires_grad_()
    loss = make("decoupled-weighted")
    factor = loss.compute_factor(student)
    assert factor.mean().item() == pytest.approx(1, abs=1e-12)
    assert torch.equal(factor.argsort(), student[:, 0].argsort(descending=True))
    loss(student, one_hot(student)).sum().backward()
    torch.testing.assert_close(student.grad[:, 0], -factor / 0.1)


@pytest.mark.parametrize("name", ["decoupled", "hard-negative"])
def test_gradient_is_correct(name: str) -> None:
    student = cosines().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: make(name)(s, one_hot(s)), (student,))


def test_gradient_of_dual_temperature_combines_both_temperatures() -> None:
    student = cosines().requires_grad_()
    make("dual-temperature")(student, one_hot(student)).sum().backward()
    size = 1 - student.detach().softmax(dim=1)[:, 0]
    torch.testing.assert_close(student.grad[:, 0], -size / 0.1)
    shape = (student.detach()[:, 1:] / 0.1).softmax(dim=1)
    torch.testing.assert_close(student.grad[:, 1:], size[:, None] * shape / 0.1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [0.5, 0.04, 0.005])
def test_extreme_similarities_in_float32_stay_finite(name: str, temperature: float) -> None:
    student = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    student.requires_grad_()
    loss = make(name, temperature=temperature)(student, one_hot(student))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1000))
def test_order_of_candidates_and_of_anchors_does_not_matter(name: str, seed: int) -> None:
    student, loss = cosines(seed=seed), make(name)
    generator = torch.Generator().manual_seed(seed)
    anchors, columns = torch.randperm(6, generator=generator), torch.randperm(19, generator=generator) + 1
    moved = student[anchors][:, torch.cat([torch.zeros(1, dtype=torch.int64), columns])]
    torch.testing.assert_close(loss(moved, one_hot(moved)), loss(student, one_hot(student))[anchors])


@pytest.mark.parametrize("name", ["debiased", "hard-negative", "dual-temperature"])
def test_soft_target_is_refused_if_the_loss_scores_the_positive_only(name: str) -> None:
    reason = f"--method simclr --target hard --loss {name}: {name} scores the positive only"
    with pytest.raises(UserError, match=reason):
        compose(["--method", "simclr", "--target", "hard", "--loss", name])
    assert compose(["--method", "moco", "--loss", name]).loss.name == name


def test_invalid_setting_is_a_one_line_error() -> None:
    with pytest.raises(UserError, match=r"class_prior = 1\.0: input should be less than 1"):
        LOSSES.get("debiased").Config(class_prior=1.0)
    with pytest.raises(UserError, match="beta = -1"):
        LOSSES.get("hard-negative").Config(beta=-1)
