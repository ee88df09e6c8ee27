"""The settings of one run."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from sslzoo.config.layers import dump_layer
from sslzoo.config.schema import AutoSwitch, Config
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.config import DatasetConfig
from sslzoo.experiment.evaluation import ON_FEATURES, EvaluationConfig
from sslzoo.experiment.format import FORMAT
from sslzoo.losses import Loss
from sslzoo.method.base import Method
from sslzoo.method.multi_crop import MultiCrop
from sslzoo.modules.backbone_config import BackboneConfig
from sslzoo.modules.optim import OptimizerConfig, ScheduleConfig
from sslzoo.runtime.errors import near_misses
from sslzoo.runtime.precision import PrecisionSetting
from sslzoo.targets import Target

BUILTIN = ("strong", "weak", "blurred", "solarized", "stronger", "local", "patch", "probe", "test")
"""Augmentations that may be there without any view of the method using them."""


class Experiment(Config):
    """Train an encoder on images without labels, watch it, and score it."""

    epochs: PositiveInt = 200
    """Passes over the training images."""
    batch_size: PositiveInt = 256
    """Images of one optimizer step, over all processes and accumulated batches."""
    accumulate: PositiveInt = 1
    """Batches that an optimizer step is accumulated from."""
    gradient_cache: bool = False
    """Let accumulated batches share their negatives: each is encoded twice, and the step is that of the whole batch.
    For methods that contrast within the batch."""
    img_size: PositiveInt = 32
    """Side of the views in pixels, where an augmentation does not say otherwise."""
    seed: NonNegativeInt = 0
    """Seed of weights, order, views and splits."""
    precision: PrecisionSetting = "auto"
    """Arithmetic of the encoders; similarities, targets and losses stay in float32. `auto`: bf16 where the device
    computes it natively, else fp32."""
    compile: bool = False
    """Compile the encoders with torch.compile."""
    cuda_graph: bool = True
    """On one GPU, record forward and backward pass as a CUDA graph and replay it, unless batches are accumulated."""
    compile_augmentations: AutoSwitch = "auto"
    """Make views by a kernel that Numba compiles for a CPU, or Triton for a GPU; equal to torch's to rounding. `auto`:
    where Numba or Triton is installed."""
    threads: NonNegativeInt = 0
    """CPU threads of each process; 0 divides the cores among the processes of this machine."""
    run_folder: Path | None = None
    """Folder of the run; None makes one below `output`."""
    output: Path = Path("runs")
    """Where run folders are made."""
    log_every: PositiveInt = 10
    """Optimizer steps between two lines of metrics."""
    knn_every: NonNegativeInt = 10
    """Epochs between two kNN scores on the held-out part of train; 0 for none."""
    knn_at_start: bool = False
    """Score kNN before the first step as well."""
    knn_images: PositiveInt = 50_000
    """Maximum number of labeled images for these kNN scores."""
    save_minutes: NonNegativeFloat = 10
    """Minutes between two checkpoints; there is always one at the end."""
    save_every: NonNegativeInt = 0
    """Optimizer steps between two checkpoints, besides; 0 leaves it to the minutes."""
    keep_checkpoints: PositiveInt = 2
    """How many of the newest checkpoints are kept; that of the best kNN is kept as well."""
    tracker: tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...] = ()
    """Where metrics go besides metrics.jsonl."""
    plugin: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Files and modules that register custom parts; given as `--plugin FILE`."""

    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    backbone: BackboneConfig = BackboneConfig()
    dataset: DatasetConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    augmentations: Config
    method: Method.Config
    target: Target.Config | None
    loss: Loss.Config | None

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        names = list(type(self.augmentations).model_fields)
        for view in self.method.views:
            if view not in names:
                raise ValueError(
                    f"method.views = {list(self.method.views)}: there is no augmentation {view!r}"
                    f"{near_misses(view, names)}"
                )
        for name in names:
            if name not in (*BUILTIN, *self.method.views):
                raise ValueError(
                    f"augmentations.{name}: no view of {self.method.name} uses this augmentation"
                    f"{near_misses(name, BUILTIN)}"
                )
        if isinstance(self.method, MultiCrop.Config):
            self.method.require_global_views(self.view_sizes)
        if not self.evaluation.classifiers:
            raise ValueError(f"evaluation.classifiers = []: takes {' or '.join(ON_FEATURES)}, one or several")
        for classifier in self.evaluation.classifiers:
            if classifier not in ON_FEATURES:
                raise ValueError(
                    f"evaluation.classifiers: {classifier} is not for the end of a run, only {', '.join(ON_FEATURES)} "
                    f"are; afterwards `evaluate RUN --protocol {classifier}` does it"
                )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size = {self.batch_size}: must be a multiple of accumulate, which is {self.accumulate}"
            )
        self.method.check_batch(self.batch_size // self.accumulate)
        return self

    @property
    def view_sizes(self) -> list[int]:
        """Side of each view of the method, in pixels."""
        return [self.augmentation(view).size or self.img_size for view in self.method.views]

    @property
    def knn_epochs(self) -> list[int]:
        """Epochs after which kNN is scored, ascending; 0 is before the first step."""
        if not self.knn_every:
            return []
        start = [0] if self.knn_at_start else []
        return [*start, *range(self.knn_every, self.epochs, self.knn_every), self.epochs]

    def augmentation(self, view: str) -> Augmentation:
        """The augmentation of that name, its size filled in."""
        augmentation: Augmentation = getattr(self.augmentations, view)
        return (
            augmentation if augmentation.size is not None else augmentation.model_copy(update={"size": self.img_size})
        )

    def resolve_auto(self, precision: PrecisionSetting, compile_augmentations: AutoSwitch) -> Self:
        """The same settings, with these values in place of `auto`."""
        values = {"precision": precision, "compile_augmentations": compile_augmentations}
        return self.model_copy(update={name: values[name] for name in values if getattr(self, name) == "auto"})

    def settings(self) -> dict[str, Any]:
        """The whole config as plain values, without augmentations that are not used."""
        settings = self.model_dump(mode="json")
        used = {*self.method.views, "probe", "test"}
        settings["augmentations"] = {
            name: augmentation for name, augmentation in settings["augmentations"].items() if name in used
        }
        return settings

    def as_yaml(self) -> str:
        """The settings as `--config` reads them, the name of a part first."""
        content = self.settings()
        for part, settings in content.items():
            if isinstance(settings, dict) and "name" in settings:
                content[part] = {"name": settings["name"], **settings}
        return dump_layer({"format": FORMAT, **content})
