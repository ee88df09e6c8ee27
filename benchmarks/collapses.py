"""Planted collapses: training runs that cannot learn, each with its cause, for `benchmarks/doctor.py`.

Most are settings. The others are plug-in methods below: a known method with a mistake that a user could make.
"""

# mypy: disable-error-code="import-not-found,misc,no-any-return"

from dataclasses import dataclass
from typing import Any

import torch
from sslzoo.methods.barlow_twins import BarlowTwins
from sslzoo.methods.byol import BYOL
from sslzoo.methods.moco import MoCo
from sslzoo.methods.simclr import SimCLR
from sslzoo.methods.simsiam import SimSiam
from sslzoo.methods.swav import SwAV
from sslzoo.methods.vicreg import VICReg
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.losses import LOSSES, Loss
from sslzoo.method.base import METHODS, MethodOutput


@METHODS.register("byol-without-predictor")
class BYOLWithoutPredictor(BYOL):
    """BYOL whose predictor is the identity."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.predictor = nn.Identity()


@METHODS.register("byol-same-encoder")
class BYOLSameEncoder(BYOLWithoutPredictor):
    """BYOL without predictor, whose teacher is the student itself, with gradient."""

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        embeddings = [self.student(view) for view in views]
        return self.combine_directions([self.compute_loss(embeddings[q], embeddings[k]) for q, k in self.config.pairs])


@METHODS.register("byol-teacher-forgotten")
class BYOLTeacherForgotten(BYOL):
    """BYOL that never updates its teacher."""

    def after_step(self, progress: float) -> None:
        pass


@METHODS.register("simsiam-without-predictor")
class SimSiamWithoutPredictor(SimSiam):
    """SimSiam whose predictor is the identity."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.predictor = nn.Identity()


@METHODS.register("simsiam-with-gradient")
class SimSiamWithGradient(SimSiam):
    """SimSiam without stop-gradient."""

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        one, other = (self.student(view) for view in views)
        return self.combine_directions([self.compute_loss(one, other), self.compute_loss(other, one)])


@METHODS.register("swav-without-sinkhorn")
class SwAVWithoutSinkhorn(SwAV):
    """SwAV whose assignments are a softmax: no Sinkhorn iterations."""

    @torch.no_grad()
    def assign(self, scores: Tensor, view: int) -> Tensor:
        return (scores / self.config.epsilon).softmax(dim=1)


@METHODS.register("moco-constant-queue")
class MoCoConstantQueue(MoCo):
    """MoCo whose queue receives the same vector again and again."""

    def after_batch(self, output: MethodOutput) -> None:
        assert output.keys is not None
        super().after_batch(
            output._replace(keys=self.queue.keys.new_ones(output.keys.shape) / output.keys.shape[1] ** 0.5)
        )


@METHODS.register("moco-constant-images")
class MoCoConstantImages(MoCo):
    """MoCo on images of one color, as from a broken decoder."""

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        return super().forward([torch.zeros_like(view) for view in views], sample_ids)


@METHODS.register("simclr-constant-images")
class SimCLRConstantImages(SimCLR):
    """SimCLR on images of one color, as from a broken decoder."""

    def embed(self, views: list[Tensor]) -> Tensor:
        return super().embed([torch.zeros_like(view) for view in views])


@METHODS.register("simclr-wrong-pairs")
class SimCLRWrongPairs(SimCLR):
    """SimCLR whose second view is of another image."""

    def embed(self, views: list[Tensor]) -> Tensor:
        return super().embed([views[0], views[1].roll(1, dims=0)])


@METHODS.register("moco-wrong-pairs")
class MoCoWrongPairs(MoCo):
    """MoCo whose key is of another image."""

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        return super().forward([views[0], views[1].roll(1, dims=0)], sample_ids)


def clear_last_layer(projector: nn.Module) -> None:
    """Set the last linear layer of a projector to zero."""
    linear = [module for module in projector.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)


@METHODS.register("moco-zero-projector")
class MoCoZeroProjector(MoCo):
    """MoCo whose projector ends in zeros."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        clear_last_layer(self.student.projector)
        clear_last_layer(self.teacher.model.projector)


@METHODS.register("vicreg-zero-projector")
class VICRegZeroProjector(VICReg):
    """VICReg whose projector ends in zeros and is not trained."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        clear_last_layer(self.student.projector)
        self.student.projector.requires_grad_(False)


@METHODS.register("barlow-twins-same-images")
class BarlowTwinsSameImages(BarlowTwins):
    """Barlow Twins on batches whose images are all equal to their mean."""

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        return super().forward([view.mean(dim=0, keepdim=True).expand_as(view) for view in views], sample_ids)


@METHODS.register("simclr-frozen-student")
class SimCLRFrozenStudent(SimCLR):
    """SimCLR that trains the last bias of the projector only."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.student.backbone.requires_grad_(False)
        self.student.projector.requires_grad_(False)
        self.scale = nn.Parameter(torch.zeros(()))

    def embed(self, views: list[Tensor]) -> Tensor:
        return super().embed(views) + 0 * self.scale


@LOSSES.register("attract-only")
class AttractOnly(Loss):
    """A loss that claims to repel and does not."""

    def forward(self, student: Tensor, weights: Tensor) -> Tensor:
        return 2 - 2 * (F.normalize(weights, p=1, dim=1) * student).sum(dim=1)


@dataclass(frozen=True)
class Plant:
    """A run with a mistake, from which it is not expected to learn."""

    mistake: str
    """The mistake in words."""
    flags: str
    """Flags of the run."""


NO_OUT_NORM = "--method.projector.out-norm none"
NO_AUGMENTATION = "--method.views test test"

PLANTS = {
    "byol-without-predictor": Plant("no predictor", "--method byol-without-predictor"),
    "byol-without-predictor-norm": Plant(
        "no predictor, no batch norm behind the projector", f"--method byol-without-predictor {NO_OUT_NORM}"
    ),
    "byol-same-encoder": Plant(
        "no predictor, no teacher, no stop-gradient", f"--method byol-same-encoder {NO_OUT_NORM}"
    ),
    "byol-without-out-norm": Plant("no batch norm behind the projector", f"--method byol {NO_OUT_NORM}"),
    "byol-momentum-1": Plant("EMA momentum 1", "--method byol --method.momentum 1"),
    "byol-teacher-forgotten": Plant("teacher never updated", "--method byol-teacher-forgotten"),
    "byol-momentum-0-no-predictor": Plant(
        "EMA momentum 0, no predictor",
        f"--method byol-without-predictor --method.momentum 0 --method.momentum-end 0 {NO_OUT_NORM}",
    ),
    "moco-momentum-1": Plant("EMA momentum 1", "--method moco --method.momentum 1"),
    "dino-momentum-1": Plant("EMA momentum 1", "--method dino --method.momentum 1"),
    "simsiam-without-predictor": Plant("no predictor", "--method simsiam-without-predictor"),
    "simsiam-with-gradient": Plant("no stop-gradient", "--method simsiam-with-gradient"),
    "moco-lr-100x": Plant("lr x 100", "--method moco --optimizer.lr 0.3"),
    "simclr-lr-100x": Plant("lr x 100", "--method simclr --optimizer.lr 0.3"),
    "byol-lr-100x": Plant("lr x 100", "--method byol --optimizer.lr 0.3"),
    "barlow-twins-lr-100x": Plant("lr x 100", "--method barlow-twins --optimizer.lr 0.3"),
    "vicreg-lr-100x": Plant("lr x 100", "--method vicreg --optimizer.lr 0.3"),
    "dino-lr-100x": Plant("lr x 100", "--method dino --optimizer.lr 0.3"),
    "moco-sgd-lr-30": Plant("SGD with lr 30", "--method moco --optimizer sgd --optimizer.lr 30"),
    "moco-lr-0": Plant("lr 1e-9", "--method moco --optimizer.lr 1e-9"),
    "simclr-frozen": Plant("student without gradient", "--method simclr-frozen-student"),
    "moco-temperature-0.001": Plant("temperature 0.001", "--method moco --loss.temperature 0.001"),
    "simclr-temperature-0.001": Plant("temperature 0.001", "--method simclr --loss.temperature 0.001"),
    "moco-temperature-100": Plant("temperature 100", "--method moco --loss.temperature 100"),
    "moco-weight-decay-50": Plant("weight decay x 1000", "--method moco --optimizer.weight-decay 50"),
    "dino-without-centering": Plant("no centering", "--method dino --method.center-momentum 1"),
    "dino-without-sharpening": Plant(
        "no sharpening", "--method dino --method.warmup-temperature 1 --method.teacher-temperature 1"
    ),
    "dino-without-head-norm": Plant(
        "no batch norm in the head", "--method dino --method.projector.norm none --method.projector.out-norm none"
    ),
    "swav-without-sinkhorn": Plant("Sinkhorn iterations 0", "--method swav-without-sinkhorn"),
    "swav-epsilon-10": Plant("assignments too soft", "--method swav --method.epsilon 10"),
    "vicreg-variance-0": Plant("variance weight 0", "--method vicreg --method.variance 0"),
    "vicreg-variance-0-covariance-0": Plant(
        "variance and covariance weights 0", "--method vicreg --method.variance 0 --method.covariance 0"
    ),
    "vicreg-zero-projector": Plant("zero-initialized projector", "--method vicreg-zero-projector"),
    "barlow-twins-off-diagonal-0": Plant("off-diagonal weight 0", "--method barlow-twins --method.off-diagonal 0"),
    "barlow-twins-same-images": Plant("all images of a batch equal", "--method barlow-twins-same-images"),
    "tico-rho-0": Plant("covariance weight 0", "--method tico --method.rho 0"),
    "emp-ssl-coding-rate-0": Plant("coding rate weight 0", "--method emp-ssl --method.coding-rate 0"),
    "w-mse-shrinkage": Plant("no whitening", "--method w-mse --method.eps 0.999"),
    "ressl-target-temperature-100": Plant("uniform target", "--method ressl --target.temperature 100"),
    "isd-target-temperature-10": Plant("uniform target", "--method isd --target.temperature 10"),
    "moco-constant-queue": Plant("queue of constants", "--method moco-constant-queue"),
    "moco-constant-images": Plant("constant images", "--method moco-constant-images"),
    "simclr-constant-images": Plant("constant images", "--method simclr-constant-images"),
    "moco-zero-projector": Plant("zero-initialized projector", "--method moco-zero-projector"),
    "simclr-wrong-pairs": Plant("positives of other images", "--method simclr-wrong-pairs"),
    "moco-wrong-pairs": Plant("positives of other images", "--method moco-wrong-pairs"),
    "moco-attract-only": Plant("loss without repulsion", "--method moco --loss attract-only"),
    "simclr-no-augmentation": Plant("no augmentation", f"--method simclr {NO_AUGMENTATION}"),
    "moco-no-augmentation": Plant("no augmentation", f"--method moco {NO_AUGMENTATION}"),
    "byol-no-augmentation": Plant("no augmentation", f"--method byol {NO_AUGMENTATION}"),
}
"""Planted collapses by name; most are settings, the others are the methods above."""
