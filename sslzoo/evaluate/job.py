"""The settings of one evaluation."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field, NonNegativeInt, PositiveInt

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


class Job(Config):
    """Score a trained encoder: timm's weights, a run's, or a file's."""

    run: Annotated[Path | None, tyro.conf.Suppress] = None
    """Run folder of the encoder; None for other weights."""
    untrained: bool = False
    """Score the backbone with random weights, as a baseline."""
    transform: Literal["auto", "weights", "dataset"] = "auto"
    """Size, crop, interpolation and normalization of the images: those that timm's weights were made for, or those
    of the data set's config; `auto` takes the former for timm's weights, and what a run trained with for a run."""
    img_size: PositiveInt | None = None
    """Side of the images; None is what the transform says."""
    batch_size: PositiveInt = 256
    """Images that a process encodes at once."""
    precision: PrecisionSetting = "auto"
    """Arithmetic of the encoder; features, distances and classifiers stay in float32. `auto`: bf16 where the device
    computes it natively, else fp32."""
    threads: NonNegativeInt = 0
    """CPU threads of each process; 0 divides the cores among the processes of this machine."""
    quality: bool = False
    """After the protocols, measure the representation itself: rank, spectrum, alignment, uniformity, neighborhoods;
    the protocol `representation` asks for it."""
    quality_images: PositiveInt = 1000
    """Test images whose strong views the measures between views use."""
    quality_views: PositiveInt = Field(10, ge=2)
    """Strong views of each of them."""
    seed: NonNegativeInt = 0
    """Seed of the weights where they are random, and of the views that quality is measured on."""
    folder: Path | None = None
    """Folder of the result; None makes one below `output`."""
    output: Path = Path("evaluations")
    """Where folders of results are made."""
    plugin: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Files and modules that register custom parts; given as `--plugin FILE`."""

    backbone: BackboneConfig = BackboneConfig()
    dataset: DatasetConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    augmentations: Config

    def augmentation(self, view: str) -> Augmentation:
        """Return the augmentation with this name."""
        augmentation: Augmentation = getattr(self.augmentations, view)
        return augmentation

    def as_yaml(self) -> str:
        """Return all settings as YAML."""
        return dump_layer({"format": FORMAT, **self.model_dump(mode="json")})
