"""Methods that learn relations to older keys: special cases, settings and errors."""

import pytest
import torch

from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError

ONE_GROUP = "--method.split-bn 1 --method.shuffle false"


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


def test_co2_without_weight_is_moco_and_its_target_can_be_swapped() -> None:
    for target in ("one-hot", "adaptive-soft", "sce"):
        co2 = Tiny.of(*f"--method co2 --method.consistency 0 --target {target}".split())
        moco = Tiny.of(*f"--method moco --target {target}".split())
        assert torch.equal(run(co2.method(), co2.sample()).loss, run(moco.method(), moco.sample()).loss)


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
