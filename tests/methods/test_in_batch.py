"""SimCo, SimMoCo, MoCo v3, SimSiam and FastSiam: settings, soft targets, precision and errors."""

import pytest
import timm
import torch

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


def test_directions_of_a_loss_are_recorded() -> None:
    assert METHODS.get("simmoco").Config().directions == "one-directional"
    assert METHODS.get("simco").Config().directions == "symmetric"


def test_fastsiam_has_four_views_by_default_and_at_least_two() -> None:
    assert len(METHODS.get("fastsiam").Config().views) == 4
    with pytest.raises(UserError, match="views"):
        METHODS.get("fastsiam").Config(views=("strong",))
