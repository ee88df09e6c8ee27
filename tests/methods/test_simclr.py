"""SimCLR and its presets against NT-Xent in float64, loop by loop."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny, run
from sslzoo.experiment.compose import compose
from sslzoo.method.base import METHODS

PRESETS = {"dcl": "decoupled", "dclw": "decoupled-weighted", "debiased": "debiased", "hcl": "hard-negative"}


def embeddings(images: int = 6, seed: int = 0) -> Tensor:
    """(B, 2, 16), not normalized."""
    return torch.randn(images, 2, 16, generator=torch.Generator().manual_seed(seed))


def nt_xent(z: Tensor, temperature: float, views: tuple[int, ...] = (0, 1)) -> float:
    """Equation 1 of the paper, over z (B, 2, D): anchor (i, v), positive (i, 1 - v), all other views below."""
    z = F.normalize(z.double(), dim=2)
    total = 0.0
    for i in range(len(z)):
        for v in views:
            below = sum(
                math.exp((z[i, v] @ z[j, u]).item() / temperature)
                for j in range(len(z))
                for u in (0, 1)
                if (j, u) != (i, v)
            )
            total -= (z[i, v] @ z[i, 1 - v]).item() / temperature - math.log(below)
    return total / len(z) / len(views)


@pytest.mark.parametrize(("symmetric", "views"), [("true", (0, 1)), ("false", (0,))])
def test_loss_is_nt_xent(symmetric: str, views: tuple[int, ...]) -> None:
    flags = ("--method", "simclr", "--method.symmetric", symmetric, "--loss.temperature", "0.3")
    method = Tiny.of(*flags).method()
    output = method.contrast(embeddings())
    assert output.loss.item() == pytest.approx(nt_xent(embeddings(), 0.3, views), abs=1e-5)
    assert output.embeddings.shape == (6 * len(views), 16)


def test_one_loss_and_gradient_from_embeddings_made_part_by_part() -> None:
    """What gradient caching relies on, where images do not meet in batch norm."""
    tiny = Tiny.of("--method", "simclr", "--method.projector.norm", "none", "--method.projector.out-norm", "none")
    sample = tiny.sample()
    whole = tiny.method(norm=False)
    run(whole, sample).loss.backward()
    parts = tiny.method(norm=False)
    with torch.no_grad():
        cached = torch.cat([parts.embed([v[i : i + 8] for v in sample.views]) for i in range(0, 32, 8)])
    cached.requires_grad_()
    parts.contrast(cached).loss.backward()
    for i in range(0, 32, 8):
        parts.embed([v[i : i + 8] for v in sample.views]).backward(cached.grad[i : i + 8])
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("target", ["hard", "adaptive-soft"])
def test_a_target_sees_the_positives_relations_to_all_but_the_own_image(target: str) -> None:
    method = Tiny.of(
        "--method", "simclr", "--target", target, "--target.neighbors", "2", "--loss.temperature", "0.3"
    ).method()
    z = F.normalize(embeddings().double(), dim=2)
    total = 0.0
    for v in (0, 1):
        for i in range(6):
            others = [(j, u) for j in range(6) for u in (0, 1) if j != i]
            similarities = [(z[i, 1 - v] @ z[j, u]).item() for j, u in others]
            if target == "hard":
                top = sorted(similarities)[-2:]
                y = [1.0 if s in top else 0.0 for s in similarities]
            else:
                e = [math.exp(s / 0.05) for s in similarities]
                q = [x / sum(e) for x in e]
                c = 1 + sum(p * math.log(p) for p in q if p > 0) / math.log(len(q))
                y = [min(1.0, c * 2 * p) for p in q]
            logits = [(z[i, v] @ z[i, 1 - v]).item() / 0.3] + [(z[i, v] @ z[j, u]).item() / 0.3 for j, u in others]
            log_sum = math.log(sum(math.exp(s) for s in logits))
            weights = [w / (1 + sum(y)) for w in [1.0, *y]]
            total -= sum(w * (s - log_sum) for w, s in zip(weights, logits, strict=True))
    assert method.contrast(embeddings()).loss.item() == pytest.approx(total / 12, abs=1e-5)


def test_order_of_images_and_of_views_does_not_matter() -> None:
    method = Tiny.of("--method", "simclr", "--target", "adaptive-soft").method()
    z = embeddings(8)
    loss = method.contrast(z).loss
    torch.testing.assert_close(method.contrast(z[torch.randperm(8)]).loss, loss)
    torch.testing.assert_close(method.contrast(z.flip(1)).loss, loss)
    torch.testing.assert_close(method.contrast(3 * z).loss, loss)  # embeddings are normalized


def test_half_precision_keeps_similarities_in_float32() -> None:
    tiny = Tiny.of("--method", "simclr", "--target", "adaptive-soft")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(tiny.method(), tiny.sample())
    assert output.loss.dtype == output.embeddings.dtype == torch.float32
    torch.testing.assert_close(output.embeddings.norm(dim=1), torch.ones(64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "loss"), PRESETS.items())
def test_presets_are_simclr_with_their_loss(name: str, loss: str) -> None:
    part, simclr = METHODS.get(name), METHODS.get("simclr")
    assert issubclass(part, simclr)
    assert part.forward is simclr.forward
    experiment = compose(["--method", name])
    assert (experiment.loss.name, experiment.target.name) == (loss, "one-hot")
