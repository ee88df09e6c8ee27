"""The transform from stored images to the input of an encoder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import timm
import timm.data
import torch
from torch import Tensor

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.view import create_view
from sslzoo.data.batch import Batch
from sslzoo.data.decode import is_converted
from sslzoo.data.pixels import RANGES
from sslzoo.evaluation.crops import Crops
from sslzoo.evaluation.job import EncoderJob
from sslzoo.modules.backbone_config import BackboneConfig
from sslzoo.modules.backbones import resolve_name
from sslzoo.runtime.errors import UserError
from sslzoo.weights.export import read_input_config
from sslzoo.weights.load import has_timm_input
from sslzoo.weights.read import read_metadata

CROPS = ("center", "squash")
"""Crop modes of timm that `Augmentation` supports under the same names."""


@dataclass(frozen=True)
class Transform:
    """The test view of an encoder, with mean and standard deviation for normalization."""

    augmentation: Augmentation
    """The augmentation of the test view; its size is set."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    """Where the transform comes from, for display."""
    value_range: tuple[float, ...] = ()
    """Smallest and largest pixel value, which become 0 and 1; not needed for uint8."""
    rgb: tuple[int, int, int] | None = None
    """Channels of red, green and blue, see `find_color_channels`."""
    crops: Crops | None = None
    """Crops that replace the test view."""

    def __call__(self, batch: Batch) -> Tensor:
        """Create the test view (B, C, size, size) float32 of a batch."""
        return self.create_view(self.augmentation, batch)

    def create_views(self, batch: Batch) -> Iterator[Tensor]:
        """Create the views (B, C, size, size) whose features are averaged: the test view, or each crop."""
        if self.crops is None:
            yield self(batch)
            return
        for number in range(self.crops.count):
            yield self.create_view(self.crops.augmentation, batch, seed=self.crops.seed, epoch=number)

    def create_view(self, augmentation: Augmentation, batch: Batch, *, seed: int = 0, epoch: int = 0) -> Tensor:
        """Create a view of a batch by another augmentation, by default with the size of the test view."""
        if augmentation.size is None:
            augmentation = augmentation.model_copy(update={"size": self.augmentation.size})
        return create_view(
            augmentation,
            batch,
            seed=seed,
            epoch=epoch,
            view=0,
            mean=self.mean,
            std=self.std,
            value_range=self.value_range,
            rgb=self.rgb,
        )

    def __str__(self) -> str:
        kind, share = self.augmentation.crop, self.augmentation.crop_pct
        crop = f"crop {kind}" if share == 1 else f"crop {kind} {share:g}"
        mean, std = (", ".join(f"{value:.4g}" for value in numbers) for numbers in (self.mean, self.std))
        size, interpolation = self.augmentation.size, self.augmentation.interpolation
        crop = crop if self.crops is None else str(self.crops)
        own = ", range {:.6g} to {:.6g}".format(*self.own_range) if self.own_range else ""
        return f"{size} px, {crop}, {interpolation}, mean {mean}, std {std}{own} ({self.origin})"

    @property
    def own_range(self) -> tuple[float, ...]:
        """The range of the pixels unless it is that of uint8; then it is empty."""
        return () if self.value_range == RANGES["uint8"] else self.value_range


def choose_transform(job: EncoderJob) -> Transform:
    """Choose the transform of the images by `transform` and `img_size`.

    Args:
        job: with the channels of the images, see `Data.config`.

    Raises:
        UserError: weights need a transform that `Augmentation` does not support, or timm's weights other channels, or
            mean or standard deviation of the images are missing.
    """
    dataset = job.dataset
    if dataset.known_dtype is not None:
        dataset = dataset.fill_defaults(dataset.channels, dataset.known_dtype)
        job = job.model_copy(update={"dataset": dataset})
    transform = _choose_by_weights(job)
    if transform is None:
        augmentation = job.augmentation("test")
        size = job.img_size or augmentation.size
        if size is None:
            raise UserError(f"--img-size: {dataset.name} has no default size; give the side in pixels")
        origin = "of the run" if job.run is not None else "of the data set's config"
        transform = Transform(augmentation.model_copy(update={"size": size}), dataset.mean, dataset.std, origin)
    transform = replace(transform, value_range=transform.value_range or dataset.range, rgb=dataset.rgb)
    for name, values in (("mean", transform.mean), ("std", transform.std), ("range", transform.value_range)):
        if not values:
            raise UserError(
                f"--dataset.{name}: missing for images of {dataset.channels} channels of {dataset.dtype}; give the "
                "values that the weights were trained with, as in the config.yaml of their run"
            )
    return transform


def _choose_by_weights(job: EncoderJob) -> Transform | None:
    """Choose the transform of the weights; None for that of the run or the data set."""
    dataset, channels = job.dataset, job.dataset.channels
    if job.transform == "weights" or (job.transform == "auto" and job.backbone.pretrained):
        if is_converted(channels, dataset.pixel_dtype):
            return resolve_weights_transform(job.backbone, channels, job.img_size)
        transform = resolve_weights_transform(job.backbone, None, job.img_size)
        if len(transform.mean) == channels:
            return transform
        origin = f"{transform.origin}, with mean and std of the data set"
        return replace(transform, mean=dataset.mean, std=dataset.std, origin=origin)
    return find_file_transform(job) if job.transform == "auto" and job.run is None else None


def find_file_transform(job: EncoderJob) -> Transform | None:
    """Find the transform that the weights of `backbone.checkpoint` were trained for.

    The file's metadata state it if sslzoo wrote the file (`sslzoo.weights.export`). Otherwise it is that of timm's
    weights for the architecture.

    Returns:
        None if neither is known: without a file, for most other projects' files, and for a model that timm has no
        weights of, or none for the channels of the images.

    Raises:
        UserError: the weights need a transform that `Augmentation` does not support.
    """
    file, backbone, channels = job.backbone.checkpoint, job.backbone, job.dataset.channels
    if file is None:
        return None
    metadata = read_metadata(file)
    if stated := read_input_config(metadata):
        if stated["input_size"][0] != channels:
            return None
        return _create_transform(stated, backbone.name, job.img_size, f"of {file.name}")
    if "timm_model" in metadata or ":" in backbone.name or "img_size" in backbone.kwargs:
        return None
    name = resolve_name(backbone, job.img_size or job.augmentation("test").size or 224)
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.has_weights or cfg.input_size[0] != channels or not has_timm_input(file):
        return None
    tagged = f"{cfg.architecture}.{cfg.tag}" if cfg.tag else name
    origin = f"of timm's {tagged}, as the file states none; --transform dataset uses those of the data set's config"
    return replace(resolve_weights_transform(backbone, channels, job.img_size), origin=origin)


def resolve_weights_transform(backbone: BackboneConfig, channels: int | None, size: int | None = None) -> Transform:
    """Resolve the transform that timm's weights were trained for, with `timm.data.resolve_model_data_config`.

    Args:
        channels: channels of the images; None accepts weights for any, whose first layer timm adapts.
        size: image size; None uses that of the weights.

    Raises:
        UserError: the model does not exist, or needs a transform that `Augmentation` does not support.
    """
    name = resolve_name(backbone, size or 224)
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, num_classes=0, **backbone.kwargs)
    except Exception as error:  # timm and the hub raise errors of many types
        raise UserError(f"--backbone {name}: timm raised: {' '.join(str(error).split())}") from error
    wanted: dict[str, Any] = timm.data.resolve_model_data_config(model)
    if channels is not None and wanted["input_size"][0] != channels:
        raise UserError(
            f"--dataset.channels {channels}: {name} takes {wanted['input_size'][0]}; "
            f"--dataset.channels {wanted['input_size'][0]} converts the images"
        )
    return _create_transform(wanted, name, size, "of the weights, by timm")


def _create_transform(wanted: Mapping[str, Any], name: str, size: int | None, origin: str) -> Transform:
    """Create a transform from timm's data config.

    Args:
        name: of the model, for error messages.
        size: image size; None uses that of the config.

    Raises:
        UserError: `Augmentation` does not support it.
    """
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
    augmentation = Augmentation(
        size=size or max(wanted["input_size"][1:]),
        crop=wanted["crop_mode"],
        crop_pct=wanted["crop_pct"],
        interpolation=wanted["interpolation"],
    )
    value_range = tuple(wanted.get("range", ()))
    return Transform(augmentation, tuple(wanted["mean"]), tuple(wanted["std"]), origin, value_range)
