"""SimCo, SimMoCo, MoCo v3, SimSiam and FastSiam: keys of the batch as candidates, against float64 restatements."""

import math

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Sample, Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS, Method
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS


def make(name: str, *flags: str) -> tuple[Method, Sample]:
    """A method in evaluation mode, so that what it embeds can be asked for again, and a batch."""
    tiny = Tiny.of("--method", name, *flags)
    method = tiny.method().eval()
    with torch.no_grad():
        for parameter in method.student.parameters():  # otherwise the teacher is equal
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return method, tiny.sample()


def unit(x: Tensor) -> Tensor:
    return F.normalize(x.detach().double(), dim=1)


def cross_entropy(query: Tensor, keys: Tensor, temperature: float) -> float:
    """Mean over rows of - log softmax at the own key."""
    total = 0.0
    for i in range(len(query)):
        row = [(query[i] @ key).item() / temperature for key in keys]
        total += math.log(sum(math.exp(s) for s in row)) - row[i]
    return total / len(query)


def dual(query: Tensor, keys: Tensor) -> float:
    """Mean over rows of the dual-temperature loss at 0.1 and 1."""
    total = 0.0
    for i in range(len(query)):
        cosines = [(query[i] @ key).item() for key in keys]
        intra, inter = (math.exp(cosines[i] / t) / sum(math.exp(s / t) for s in cosines) for t in (0.1, 1.0))
        total -= (1 - inter) / (1 - intra) * math.log(intra)
    return total / len(query)


def test_simco_is_the_mean_of_both_views_against_the_other_kind() -> None:
    method, sample = make("simco")
    first, second = (unit(method.student(view)) for view in sample.views)
    expected = (dual(first, second) + dual(second, first)) / 2
    assert run(method, sample).loss.item() == pytest.approx(expected, abs=1e-5)


def test_gradient_of_simco_goes_through_keys_too() -> None:
    method, _ = make("simco")
    query, key = (torch.randn(6, 16, generator=torch.Generator().manual_seed(s)).requires_grad_() for s in (0, 1))
    method.compute_loss(query, key).loss.backward()
    assert (query.grad.abs().sum(dim=1) > 1e-6).all()
    assert (key.grad.abs().sum(dim=1) > 1e-6).all()


def test_simmoco_takes_keys_of_the_momentum_encoder() -> None:
    method, sample = make("simmoco")
    expected = dual(unit(method.student(sample.views[0])), unit(method.teacher(sample.views[1])))
    assert run(method, sample).loss.item() == pytest.approx(expected, abs=1e-5)
    assert method.config.directions == "one-directional"


@pytest.mark.parametrize("temperature", ["0.2", "1.0"])
def test_moco_v3_is_the_sum_of_both_directions_times_2_t(temperature: str) -> None:
    method, sample = make("moco-v3", "--loss.temperature", temperature)
    t, total = float(temperature), 0.0
    for query, key in ((0, 1), (1, 0)):
        prediction = unit(method.predictor(method.student(sample.views[query])))
        total += 2 * t * cross_entropy(prediction, unit(method.teacher(sample.views[key])), t)
    assert run(method, sample).loss.item() == pytest.approx(total, abs=1e-5)


def test_moco_v3_with_a_loss_without_temperature_is_not_scaled() -> None:
    method, _ = make("moco-v3", "--loss", "cosine")
    assert method.scale == 1


@pytest.mark.parametrize("freeze", [True, False])
def test_moco_v3_freezes_the_patch_projection_of_a_vision_transformer(freeze: bool) -> None:
    part, target, loss = METHODS.get("moco-v3"), TARGETS.get("one-hot"), LOSSES.get("cross-entropy")
    heads = {"hidden": 16, "out": 8}
    config = part.Config(projector=heads, predictor=heads, freeze_patch_embed=freeze)
    method = part(config, timm.create_model("test_vit", num_classes=0), target(target.Config()), loss(loss.Config()))
    frozen = {name for name, parameter in method.student.named_parameters() if not parameter.requires_grad}
    projection = {"backbone.patch_embed.proj.weight", "backbone.patch_embed.proj.bias"}
    assert frozen == (projection if freeze else set())
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())


@pytest.mark.parametrize(("symmetric", "queries"), [("true", (0, 1)), ("false", (0,))])
def test_simsiam_is_the_negative_cosine_of_prediction_and_other_view(symmetric: str, queries: tuple[int, ...]) -> None:
    method, sample = make("simsiam", "--method.symmetric", symmetric)
    z = [method.student(view) for view in sample.views]
    cosines = [(unit(method.predictor(z[q])) * unit(z[1 - q])).sum(dim=1).mean().item() for q in queries]
    assert run(method, sample).loss.item() == pytest.approx(-sum(cosines) / len(cosines), abs=1e-5)


@pytest.mark.parametrize("name", ["simsiam", "fastsiam"])
def test_no_gradient_goes_through_the_keys(name: str) -> None:
    """Without the predictor's part the loss has no gradient at all: a view is a key for the others only."""
    method, sample = make(name)
    run(method, sample).loss.backward()
    whole = [parameter.grad.clone() for parameter in method.student.parameters()]
    method.zero_grad()
    z = [method.student(view) for view in sample.views]
    losses = []
    for q in range(len(z)):
        key = torch.stack([other for k, other in enumerate(z) if k != q]).mean(dim=0).detach()
        losses.append(-F.cosine_similarity(method.predictor(z[q]), key).mean())
    torch.stack(losses).mean().backward()
    for ours, parameter in zip(whole, method.student.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, atol=1e-6, rtol=1e-4)


def test_fastsiam_takes_the_mean_of_the_other_views() -> None:
    method, sample = make("fastsiam")
    assert len(sample.views) == 4
    z = [method.student(view).detach().double() for view in sample.views]
    total = 0.0
    for q in range(4):
        key = sum(z[k] for k in range(4) if k != q) / 3
        total -= (unit(method.predictor(z[q].float())) * unit(key)).sum(dim=1).mean().item()
    assert run(method, sample).loss.item() == pytest.approx(total / 4, abs=1e-5)
    with pytest.raises(UserError, match="views"):
        METHODS.get("fastsiam").Config(views=("strong",))


@pytest.mark.parametrize("name", ["simsiam", "fastsiam", "moco-v3", "simmoco"])
def test_soft_targets_weigh_the_other_keys(name: str) -> None:
    loss = ("--loss", "cross-entropy") if name == "simmoco" else ()
    hard, sample = make(name, "--target", "hard", "--target.neighbors", "3", *loss)
    plain, _ = make(name, *loss)
    none, _ = make(name, "--target", "hard", "--target.neighbors", "0", *loss)
    assert torch.equal(run(none, sample).loss, run(plain, sample).loss)
    output = run(hard, sample)
    assert output.logs["extra_mass"].item() == pytest.approx(3)
    assert output.loss != run(plain, sample).loss


def test_half_precision_keeps_similarities_in_float32() -> None:
    for name in ("simco", "moco-v3", "fastsiam"):
        tiny = Tiny.of("--method", name)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = run(tiny.method(), tiny.sample())
        assert output.loss.dtype == output.embeddings.dtype == torch.float32


def test_bad_pairs_and_settings_are_one_line() -> None:
    with pytest.raises(UserError, match=r"predictor.out = 2048: must be projector.out, 64"):
        METHODS.get("simsiam").Config(projector={"out": 64})
    with pytest.raises(UserError, match="dual-temperature scores the positive only"):
        compose(["--method", "simco", "--target", "hard", "--loss", "dual-temperature"])
    with pytest.raises(UserError, match="cosine only attracts, and simco has no predictor"):
        compose(["--method", "simco", "--loss", "negative-cosine"])
