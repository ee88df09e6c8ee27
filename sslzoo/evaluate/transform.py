"""What is done to an image before an encoder sees it."""

from dataclasses import dataclass
from typing import Any

import timm
import timm.data
import torch
from torch import Tensor

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.view import create_view
from sslzoo.data.batch import Batch
from sslzoo.modules.backbone_config import BackboneConfig
from sslzoo.modules.backbones import resolve_name
from sslzoo.runtime.errors import UserError

CROPS = ("center", "squash")
"""timm's crop modes and their names in `Augmentation`."""


@dataclass(frozen=True)
class Transform:
    """The test view of an encoder, and the numbers that it normalizes by."""

    augmentation: Augmentation
    """Its size is filled in."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    """Where it comes from, in words."""

    def __call__(self, batch: Batch) -> Tensor:
        """(B, C, size, size) float32."""
        return self.view(self.augmentation, batch)

    def view(self, augmentation: Augmentation, batch: Batch, *, seed: int = 0, epoch: int = 0, view: int = 0) -> Tensor:
        """Another view of the same images, of the same size unless the augmentation says otherwise."""
        if augmentation.size is None:
            augmentation = augmentation.model_copy(update={"size": self.augmentation.size})
        return create_view(augmentation, batch, seed=seed, epoch=epoch, view=view, mean=self.mean, std=self.std)

    def __str__(self) -> str:
        crop = (
            self.augmentation.crop
            if self.augmentation.crop_pct == 1
            else f"{self.augmentation.crop} {self.augmentation.crop_pct:g}"
        )
        mean, std = (", ".join(f"{value:.4g}" for value in numbers) for numbers in (self.mean, self.std))
        size, interpolation = self.augmentation.size, self.augmentation.interpolation
        return f"{size} px, crop {crop}, {interpolation}, mean {mean}, std {std} ({self.origin})"


def transform_of_weights(backbone: BackboneConfig, channels: int, size: int | None = None) -> Transform:
    """What timm's weights of that name were made for, by `timm.data.resolve_model_data_config`.

    Args:
        size: side of the images, where it is not to be the weights' own.

    Raises:
        UserError: no such model, or it needs a transform that `Augmentation` does not have.
    """
    name = resolve_name(backbone, size or 224)
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, num_classes=0, **backbone.kwargs)
    except Exception as error:  # timm's builders and the hub raise whatever they run into
        raise UserError(f"--backbone {name}: timm raised: {' '.join(str(error).split())}") from error
    wanted: dict[str, Any] = timm.data.resolve_model_data_config(model)
    if wanted["interpolation"] not in ("bilinear", "bicubic"):
        raise UserError(
            f"--backbone {name}: needs {wanted['interpolation']} interpolation, supported are bilinear and bicubic; "
            "--transform dataset takes the data set's view instead"
        )
    if wanted["crop_mode"] not in CROPS:
        raise UserError(
            f"--backbone {name}: needs the crop {wanted['crop_mode']!r}, supported are {' and '.join(CROPS)}; "
            "--transform dataset takes the data set's view instead"
        )
    if wanted["input_size"][0] != channels:
        raise UserError(
            f"--dataset.channels {channels}: {name} takes {wanted['input_size'][0]}; "
            f"--dataset.channels {wanted['input_size'][0]} converts the images"
        )
    augmentation = Augmentation(
        size=size or max(wanted["input_size"][1:]),
        crop=wanted["crop_mode"],
        crop_pct=wanted["crop_pct"],
        interpolation=wanted["interpolation"],
    )
    return Transform(augmentation, tuple(wanted["mean"]), tuple(wanted["std"]), "of the weights, by timm")
