"""Methods that learn relations to older keys, against restatements in float64."""

import math

import pytest
import torch
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError

ONE_GROUP = "--method.split-bn 1 --method.shuffle false"


@pytest.mark.parametrize(("name", "teacher_t"), [("ressl", 0.04), ("isd", 0.01)])
def test_relational_methods_restated(name: str, teacher_t: float) -> None:
    tiny = Tiny.of(*f"--method {name} {ONE_GROUP} --target.temperature {teacher_t}".split())
    method, sample = tiny.method(), tiny.sample()
    queue = method.queue.keys.double()
    query = method.student(sample.views[0])
    if name == "isd":
        query = method.predictor(query)
    q, k = F.normalize(query.double()), F.normalize(method.teacher(sample.views[1]).double())
    prediction, target = (q @ queue.T / 0.1).log_softmax(1), (k @ queue.T / teacher_t).softmax(1)
    expected = sum(-(target[i] * prediction[i]).sum().item() for i in range(len(q))) / len(q)
    output = run(method, sample)
    assert output.loss.item() == pytest.approx(expected, abs=1e-4)
    assert torch.equal(method.queue.keys.double(), queue)  # nothing enters before the loss is back-propagated
    method.after_batch(output)
    torch.testing.assert_close(method.queue.keys[: len(k)].double(), k, atol=1e-5, rtol=0)


def test_sce_is_moco_with_its_target() -> None:
    settings = "--target sce --target.positive-weight 0.3 --target.temperature 0.1"
    losses = [
        run(tiny.method(), tiny.sample()).loss
        for tiny in (Tiny.of(*f"--method {name} {settings}".split()) for name in ("sce", "moco"))
    ]
    assert torch.equal(*losses)


def test_views_are_strong_and_weak() -> None:
    for name in ("ressl", "isd", "sce"):
        assert METHODS.get(name).Config().views == ("strong", "weak")


def test_predictor_as_wide_as_the_projector() -> None:
    with pytest.raises(UserError, match=r"predictor.out = 32: must be projector.out, 64"):
        compose(["--method", "isd", "--method.predictor.out", "32"])


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_co2_adds_the_symmetric_divergence_over_the_negatives() -> None:
    flags = f"{ONE_GROUP} --method.queue-size 40"
    co2 = Tiny.of(*f"--method co2 {flags} --method.consistency 0.7 --method.consistency-temperature 0.2".split())
    moco = Tiny.of(*f"--method moco {flags}".split())
    method, sample = co2.method(), co2.sample()
    output, plain = run(method, sample), run(moco.method(), sample)
    queue = method.queue.keys.double()
    q = F.normalize(method.student(sample.views[0]).double())
    k = F.normalize(method.teacher(sample.views[1]).double())
    total = 0.0
    for i in range(len(q)):
        p = (queue @ q[i] / 0.2).softmax(0).tolist()
        r = (queue @ k[i] / 0.2).softmax(0).tolist()
        total += (kl(p, r) + kl(r, p)) / 2
    assert output.logs["inconsistency"].item() == pytest.approx(total / len(q), abs=1e-5)
    assert output.loss.item() == pytest.approx(plain.loss.item() + 0.7 * total / len(q), abs=1e-5)


def test_co2_without_weight_is_moco_and_its_target_can_be_swapped() -> None:
    for target in ("one-hot", "adaptive-soft", "sce"):
        co2 = Tiny.of(*f"--method co2 --method.consistency 0 --target {target}".split())
        moco = Tiny.of(*f"--method moco --target {target}".split())
        assert torch.equal(run(co2.method(), co2.sample()).loss, run(moco.method(), moco.sample()).loss)


@pytest.mark.parametrize("symmetric", [False, True])
def test_clsa_restated(symmetric: bool) -> None:
    flags = f"{ONE_GROUP} --method.queue-size 40 --method.symmetric {str(symmetric).lower()}"
    clsa = Tiny.of(*f"--method clsa {flags} --method.divergence 0.5".split())
    method, sample = clsa.method(), clsa.sample()
    assert len(sample.views) == 3
    output = run(method, sample)
    queue = method.queue.keys.double()
    stronger = F.normalize(method.student(sample.views[2]).double())
    contrast = divergence = 0.0
    for a, b in ((0, 1), (1, 0))[: 1 + symmetric]:
        q = F.normalize(method.student(sample.views[a]).double())
        k = F.normalize(method.teacher(sample.views[b]).double())
        for i in range(len(q)):
            rows = torch.cat([k, queue])
            contrast -= (rows @ q[i] / 0.1).log_softmax(0)[i].item() / len(q)
            p = (rows @ q[i] / 0.2).softmax(0).tolist()
            r = (rows @ stronger[i] / 0.2).softmax(0).tolist()
            divergence -= sum(x * math.log(y) for x, y in zip(p, r, strict=True)) / len(q)
    assert output.logs["divergence"].item() == pytest.approx(divergence / (1 + symmetric), abs=1e-5)
    assert output.loss.item() == pytest.approx(contrast + 0.5 * divergence, abs=1e-4)


def test_clsa_sends_no_gradient_into_the_query_by_its_divergence() -> None:
    method = Tiny.of("--method", "clsa").method()
    query, stronger, key = (torch.randn(4, 64).requires_grad_() for _ in range(3))
    method.diverge(query.detach(), stronger, key.detach()).backward()
    assert stronger.grad.abs().sum() > 0
    gradients = {}
    for weight in (0.0, 1.0):
        tiny = Tiny.of(*f"--method clsa --method.divergence {weight} {ONE_GROUP}".split())
        method, sample = tiny.method(), tiny.sample()
        sample.views[0].requires_grad_()
        run(method, sample).loss.backward()
        gradients[weight] = sample.views[0].grad
    assert torch.equal(gradients[0.0], gradients[1.0])


def test_clsa_takes_three_views() -> None:
    assert METHODS.get("clsa").Config().views == ("strong", "strong", "stronger")
    with pytest.raises(UserError, match="views"):
        METHODS.get("clsa").Config(views=("strong", "weak"))
