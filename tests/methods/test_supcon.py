"""SupCon against L_out in float64, loop by loop, and what it refuses."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sslzoo.check.tiny import Tiny
from sslzoo.experiment.compose import compose
from sslzoo.method.base import Method
from sslzoo.runtime.errors import UserError
from sslzoo.training.run import pretrain

LABELS = torch.tensor([0, 1, 0, -1, 2, 0, -1])


def embeddings() -> Tensor:
    """(B, 2, 16), not normalized."""
    return torch.randn(len(LABELS), 2, 16, generator=torch.Generator().manual_seed(0))


def make(name: str = "supcon", *flags: str) -> Method:
    heads = ("--method.projector.norm", "none", "--method.projector.out-norm", "none")
    return Tiny.of("--method", name, "--loss.temperature", "0.3", *heads, *flags).method()


def out_loss(z: Tensor, labels: list[int]) -> float:
    """Equation 2 of the paper: the mean over positives stands outside of the logarithm."""
    z = F.normalize(z.double(), dim=2)
    rows = [(i, v) for i in range(len(z)) for v in (0, 1)]
    total = 0.0
    for i, v in rows:
        others = [(j, u) for j, u in rows if (j, u) != (i, v)]
        below = sum(math.exp((z[i, v] @ z[j, u]).item() / 0.3) for j, u in others)
        positives = [(j, u) for j, u in others if j == i or (labels[j] == labels[i] and labels[i] >= 0)]
        logs = [(z[i, v] @ z[j, u]).item() / 0.3 - math.log(below) for j, u in positives]
        total -= sum(logs) / len(logs)
    return total / len(rows)


def test_loss_is_l_out_and_images_without_label_are_classes_of_their_own() -> None:
    output = make().contrast(embeddings(), LABELS)
    assert output.loss.item() == pytest.approx(out_loss(embeddings(), LABELS.tolist()), abs=1e-5)
    # three images of class 0 have four further positives each, the other four none
    assert output.logs["extra_mass"].item() == pytest.approx(3 * 4 / 7)


@pytest.mark.parametrize("labels", [torch.arange(7), torch.full((7,), -1)])
def test_without_classmates_it_is_simclr_exactly(labels: Tensor) -> None:
    ours, theirs = embeddings().requires_grad_(), embeddings().requires_grad_()
    supcon, simclr = make().contrast(ours, labels).loss, make("simclr").contrast(theirs).loss
    assert torch.equal(supcon, simclr)
    supcon.backward()
    simclr.backward()
    assert torch.equal(ours.grad, theirs.grad)


def test_names_of_classes_do_not_matter() -> None:
    method = make()
    renamed = torch.where(LABELS >= 0, 7 - LABELS, LABELS)
    assert torch.equal(method.contrast(embeddings(), LABELS).loss, method.contrast(embeddings(), renamed).loss)


def test_it_keeps_its_own_target_which_is_for_no_other_method() -> None:
    with pytest.raises(UserError, match="--method supcon --target hard: supcon weights candidates by label"):
        compose(["--method", "supcon", "--target", "hard"])
    with pytest.raises(UserError, match=r"simclr --target same-class: .* only supervised methods receive labels"):
        compose(["--method", "simclr", "--target", "same-class"])
    with pytest.raises(UserError, match="--method supcon --loss debiased: debiased scores the positive only"):
        compose(["--method", "supcon", "--loss", "debiased"])


def test_labels_are_asked_for() -> None:
    tiny = Tiny.of("--method", "supcon")
    with pytest.raises(ValueError, match="supcon learns from labels, and was given none"):
        tiny.method()(tiny.sample().views, tiny.sample().ids)


def test_images_without_labels_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "holiday"
    folder.mkdir(parents=True)
    for i in range(8):
        Image.new("L", (8 + i, 8), 9 * i).save(folder / f"{i}.png")
    experiment = compose(
        [
            "--method", "supcon", "--dataset", "folder", "--dataset.path", str(tmp_path / "images"),
            "--img-size", "8", "--dataset.cache-dir", str(tmp_path / "cache"), "--backbone", "resnet10t",
            "--batch-size", "4", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--threads", "1",
            "--output", str(tmp_path / "runs"),
        ]
    )  # fmt: skip
    with pytest.raises(UserError, match=r"--method supcon: learns from labels, and folder \(train\) has none"):
        pretrain(experiment)
    assert not (tmp_path / "runs").exists()
