"""The settings of an encoder with its images, and those of one evaluation."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field, NonNegativeInt, PositiveInt, PrivateAttr

from sslzoo.config.layers import dump_layer
from sslzoo.config.schema import Config
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.config import DatasetConfig
from sslzoo.experiment.evaluation import EvaluationConfig
from sslzoo.experiment.format import FORMAT
from sslzoo.modules.backbone_config import BackboneConfig
from sslzoo.runtime.precision import PrecisionSetting

STANDARD = "standard"
"""Name of the protocol if none is requested: the settings in `evaluation`, by default kNN and linear probe."""


class EncoderJob(Config):
    """An encoder, the images that it encodes, and how they are preprocessed."""

    run: Annotated[Path | None, tyro.conf.Suppress] = None
    """Run folder of the encoder; None for other weights."""
    untrained: bool = False
    """Use the backbone with random weights, as a baseline."""
    transform: Literal["auto", "weights", "dataset"] = "auto"
    """Size, crop, interpolation and normalization of the images: `weights` uses those of timm's weights, `dataset`
    those of the data set's config. `auto` uses the settings of the run for a run and for its exported file, and
    `weights` for timm's weights and for a file of timm, torchvision or EfficientNet-PyTorch that states none."""
    img_size: PositiveInt | None = None
    """Image size in pixels; None uses that of the transform."""
    batch_size: PositiveInt = 256
    """Images in a batch of a process; a CPU encodes a batch in parts."""
    precision: PrecisionSetting = "auto"
    """Precision of the encoder; features, distances and classifiers are always float32. `auto` uses bf16 if the device
    supports it natively, otherwise fp32."""
    threads: NonNegativeInt = 0
    """CPU threads of each process; 0 divides the cores among the processes of this machine."""
    seed: NonNegativeInt = 0
    """Seed of random weights and of the views that `evaluate` measures."""
    plugin: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Files and modules that register custom parts; given as `--plugin FILE`."""

    backbone: BackboneConfig = BackboneConfig()
    dataset: DatasetConfig
    augmentations: Config

    _warmup_note: str | None = PrivateAttr(default=None)

    @property
    def warmup_note(self) -> str | None:
        """A line for the user if the warm-up of fine-tuning was shortened; None otherwise."""
        return self._warmup_note

    def augmentation(self, view: str) -> Augmentation:
        """Return the augmentation with this name."""
        augmentation: Augmentation = getattr(self.augmentations, view)
        return augmentation

    def as_yaml(self) -> str:
        """Return all settings as YAML."""
        return dump_layer({"format": FORMAT, **self.model_dump(mode="json")})


class EvaluationJob(EncoderJob):
    """Score a trained encoder: timm's weights, a run's, or a file's."""

    quality: bool = False
    """After the protocols, measure the representation: rank, spectrum, alignment, uniformity, neighborhoods; the
    protocol `representation` enables it."""
    quality_images: PositiveInt = 1000
    """Number of test images whose strong views are measured."""
    quality_views: PositiveInt = Field(10, ge=2)
    """Number of strong views per image."""
    crops: NonNegativeInt = 0
    """Features of an image are the mean of those of this many random crops by `crop_augmentation`, as EMP-SSL's authors
    evaluate; 0 encodes the test view."""
    crop_augmentation: str = "patch"
    """Name of the augmentation of the crops."""
    projector_layers: NonNegativeInt = 0
    """Score the features behind this many layers of a run's projector; 0 scores those of the backbone."""
    folder: Path | None = None
    """Folder of the result; None creates one in `output`."""
    output: Path = Path("evaluations")
    """Folder in which result folders are created."""

    evaluation: EvaluationConfig = EvaluationConfig()
