"""Methods: what enters the loss, what moves after a step, and what a checkpoint holds."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS, Method
from sslzoo.method.build import build_method
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS


class Backbone(nn.Sequential):
    """A few weights, with or without batch norm."""

    num_features = 8

    def __init__(self, norm: bool = True) -> None:
        layers = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def make(name: str, target: str = "one-hot", *, norm: bool = True, **settings: object) -> Method:
    torch.manual_seed(0)
    method = METHODS.get(name)
    heads = {"projector": {"hidden": 16, "out": 8}}
    if name == "byol":
        heads["predictor"] = {"hidden": 16, "out": 8, "norm": "batch"}
    config = method.Config(name=name, **heads, **settings)
    return build_method(
        config,
        TARGETS.get(target).Config(name=target),
        LOSSES.get(method.default_loss).Config(name=method.default_loss),
        Backbone(norm),
    )


def views(n: int = 16, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, 6, 6, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("name", METHODS.names())
def test_a_step_trains_the_student_and_only_moves_the_teacher(name: str) -> None:
    tiny = Tiny.of("--method", name)
    method = tiny.method()
    method.before_epoch(0)
    method.after_batch(run(method, tiny.sample(seed=1)))
    method.before_epoch(1)  # DeepCluster learns from the second epoch on
    output = run(method, tiny.sample())
    assert output.loss.shape == ()
    assert output.loss.dtype == torch.float32
    assert not output.embeddings.requires_grad
    assert not any(value.requires_grad for value in output.logs.values())
    output.loss.backward()
    for parameter_name, parameter in method.named_parameters():
        trained = not parameter_name.startswith("teacher.")
        assert (parameter.grad is not None) == trained, parameter_name
        if trained and parameter.dim() > 1:
            assert parameter.grad.abs().sum() > 0, parameter_name
    teacher = getattr(method, "teacher", None)
    before = [] if teacher is None else [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for p in method.parameters():
            p.add_(0.1 * p.requires_grad)
    method.after_batch(output)
    if teacher is not None:
        assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
        method.after_step(0.0)
        assert not any(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True) if a.dim() > 1)


@pytest.mark.parametrize("name", METHODS.names())
def test_state_dict_round_trip_gives_the_same_loss(name: str) -> None:
    tiny = Tiny.of("--method", name)
    method = tiny.method()
    method.before_epoch(0)
    for seed in range(3):
        method.after_batch(run(method, tiny.sample(seed=seed)))
        method.after_step(0.5)
    method.before_epoch(1)
    other = tiny.method()
    other.load_state_dict(method.state_dict())
    assert torch.equal(run(method, tiny.sample(seed=9)).loss, run(other, tiny.sample(seed=9)).loss)


def test_moco_loss_is_infonce_with_the_bank_before_the_push() -> None:
    method = make("moco", norm=False, queue_size=32, split_bn=1)
    x = views()
    queue = method.queue.keys.double().clone()
    output = method(x, torch.arange(16))
    q = F.normalize(method.student(x[0]).double())
    k = F.normalize(method.teacher(x[1]).double())
    expected = 0.0
    for i in range(16):
        positive = math.exp((q[i] @ k[i]).item() / 0.1)
        negatives = sum(math.exp((q[i] @ z).item() / 0.1) for z in queue)
        expected -= math.log(positive / (positive + negatives)) / 16
    assert output.loss.item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(output.keys.double(), k, atol=1e-6, rtol=0)
    assert torch.equal(method.queue.keys.double(), queue)
    method.after_batch(output)
    assert torch.equal(method.queue.keys[:16], output.keys)
    assert torch.equal(method.queue.keys[16:].double(), queue[16:])


def test_perfect_query_scores_the_formula_because_its_key_is_not_in_the_bank() -> None:
    method = make("moco", norm=False, queue_size=32, split_bn=1)
    keys = F.normalize(torch.randn(16, 8))
    method.queue.push(F.normalize(torch.randn(32, 8)))
    output = method.contrast(keys, keys)
    negatives = (keys.double() @ method.queue.keys.double().T / 0.1).exp().sum(1)
    expected = -(math.exp(10) / (math.exp(10) + negatives)).log().mean()
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1), ("sum", 2)])
def test_symmetric_moco_is_the_mean_or_sum_of_both_directions(reduction: str, factor: int) -> None:
    x = views()
    one = make("moco", norm=False, queue_size=32, split_bn=1)(x, torch.arange(16))
    other = make("moco", norm=False, queue_size=32, split_bn=1)(x[::-1], torch.arange(16))
    method = make("moco", norm=False, queue_size=32, split_bn=1, symmetric=True, direction_reduction=reduction)
    both = method(x, torch.arange(16))
    assert both.loss.item() == pytest.approx(factor * (one.loss.item() + other.loss.item()) / 2, abs=1e-6)
    assert len(both.keys) == 32


@pytest.mark.parametrize("target", ["hard", "adaptive-soft"])
def test_byol_with_a_target_restated(target: str) -> None:
    method = make("byol", target, norm=False, symmetric=False)
    x = views()
    loss = method(x, torch.arange(16)).loss.item()
    p = F.normalize(method.predictor(method.student(x[0])).double())
    k = F.normalize(method.teacher(x[1]).double())
    total = 0.0
    for i in range(16):
        others = [j for j in range(16) if j != i]
        similarities = [(k[i] @ k[j]).item() for j in others]
        if target == "hard":
            y = [1.0 if s == max(similarities) else 0.0 for s in similarities]
        else:
            e = [math.exp(s / 0.05) for s in similarities]
            q = [v / sum(e) for v in e]
            c = 1 + sum(v * math.log(v) for v in q if v > 0) / math.log(15)
            y = [min(1.0, c * v) for v in q]
        weights = {i: 1.0} | dict(zip(others, y, strict=True))
        mass = sum(weights.values())
        total += 2 - 2 * sum(w / mass * (p[i] @ k[j]).item() for j, w in weights.items())
    assert loss == pytest.approx(total / 16, abs=1e-5)


def test_ascl_is_moco_with_soft_targets_on_strong_and_weak_views() -> None:
    ascl, moco = METHODS.get("ascl"), METHODS.get("moco")
    assert issubclass(ascl, moco)
    assert ascl.default_target == "adaptive-soft"
    assert ascl.Config().views == ("strong", "weak")
    same = {k: v for k, v in ascl.Config().model_dump().items() if k != "views"}
    assert same == {k: v for k, v in moco.Config().model_dump().items() if k != "views"}
    x = views()
    out = [
        make(name, "adaptive-soft", queue_size=32, split_bn=4)(x, torch.arange(16)).loss for name in ("ascl", "moco")
    ]
    assert torch.equal(*out)


def test_keys_are_shuffled_before_split_batch_norm() -> None:
    x = views()
    shuffled = make("moco", queue_size=32, split_bn=4)
    plain = make("moco", queue_size=32, split_bn=4, shuffle=False)
    key = shuffled.encode_keys(x[1], 1)
    assert not torch.allclose(key, plain.encode_keys(x[1], 1), atol=1e-5)
    shuffled.step += 1
    assert not torch.allclose(key, shuffled.encode_keys(x[1], 1), atol=1e-5)  # another order at the next step


def test_half_precision_keeps_similarities_in_float32() -> None:
    method = make("ascl", "adaptive-soft", queue_size=32, split_bn=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = method(views(), torch.arange(16))
    assert output.loss.dtype == torch.float32
    assert output.keys.dtype == torch.float32
    torch.testing.assert_close(output.keys.norm(dim=1), torch.ones(16), atol=1e-6, rtol=0)


def test_bad_settings_are_one_line() -> None:
    with pytest.raises(UserError, match="queue_size = 0: input should be greater than 0"):
        METHODS.get("moco").Config(queue_size=0)
    with pytest.raises(UserError, match="queue_sze: no such setting; did you mean queue_size"):
        METHODS.get("moco").Config(queue_sze=10)
