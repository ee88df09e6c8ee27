"""The settings of a run."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, PrivateAttr, model_validator

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
from sslzoo.modules.clip import ClipScope
from sslzoo.modules.optim import OptimizerConfig, ScheduleConfig
from sslzoo.runtime.errors import near_misses
from sslzoo.runtime.precision import PrecisionSetting
from sslzoo.targets import Target

BUILTIN_AUGMENTATIONS = ("strong", "weak", "blurred", "solarized", "stronger", "local", "patch", "probe", "test")
"""Augmentations that a config may contain even if no view of the method uses them."""


class Experiment(Config):
    """Train an encoder on images without labels, monitor the training, and evaluate the encoder."""

    epochs: PositiveInt = 200
    """Passes over the training images."""
    batch_size: PositiveInt = 256
    """Images per optimizer step, over all processes and accumulated batches."""
    accumulate: PositiveInt = 1
    """Number of batches that an optimizer step accumulates."""
    gradient_cache: bool = False
    """Share negatives between accumulated batches: each is encoded twice, and the step equals that of the whole batch.
    Only for methods that contrast within the batch."""
    img_size: PositiveInt = 32
    """Side length of the views in pixels, unless an augmentation sets its own size."""
    seed: NonNegativeInt = 0
    """Seed of weights, data order, views and splits."""
    clip_grad_norm: PositiveFloat | None = None
    """Clip the gradients of each optimizer step to this norm; None disables clipping. `grad_norm` is the norm before
    clipping."""
    clip_grad_scope: ClipScope = "all"
    """Norm that `clip_grad_norm` applies to: that of `all` parameters together, or that of each `parameter`, as in
    DINO."""
    precision: PrecisionSetting = "auto"
    """Precision of the encoders; similarities, targets and losses stay float32. `auto`: bf16 if the device computes it
    natively, else fp32."""
    compile: bool = False
    """Compile the encoders with torch.compile."""
    cuda_graph: bool = True
    """Replay forward and backward pass as a CUDA graph on a single GPU without accumulation."""
    compile_augmentations: AutoSwitch = "auto"
    """Create views with a kernel compiled by Numba on a CPU or Triton on a GPU; the result equals torch's to rounding.
    `auto`: if Numba or Triton is installed."""
    threads: NonNegativeInt = 0
    """CPU threads per process; 0 divides the cores among the processes of the machine."""
    run_folder: Path | None = None
    """Folder of the run; None creates a folder in `output`."""
    output: Path = Path("runs")
    """Folder in which run folders are created."""
    log_every: PositiveInt = 10
    """Optimizer steps between two lines of metrics."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """What to do when the run is not healthy, for example has collapsed: `warn`, or save a checkpoint and `stop`."""
    knn_every: NonNegativeInt = 10
    """Epochs between two kNN evaluations on the held-out part of the train split; 0 disables them."""
    knn_at_start: bool = False
    """Evaluate kNN before the first step too."""
    knn_images: PositiveInt = 50_000
    """Maximum number of labeled images of these kNN evaluations."""
    stop_after_no_gain: NonNegativeInt = 0
    """kNN evaluations in a row without a new best accuracy after which training stops; 0 disables it. The run then ends
    like a finished one, with the weights of its last epoch."""
    save_minutes: NonNegativeFloat = 10
    """Minutes between two checkpoints; the last step is always saved."""
    save_every: NonNegativeInt = 0
    """Optimizer steps between two checkpoints, in addition to `save_minutes`; 0 disables it."""
    keep_checkpoints: PositiveInt = 2
    """Number of newest checkpoints to keep; the checkpoint of the best kNN accuracy is kept too."""
    tracker: tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...] = ()
    """Trackers that receive the metrics in addition to metrics.jsonl."""
    plugin: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Files and modules that register custom parts, as in `--plugin FILE`."""

    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    backbone: BackboneConfig = BackboneConfig()
    dataset: DatasetConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    augmentations: Config
    method: Method.Config
    target: Target.Config | None
    loss: Loss.Config | None

    _warmup_note: str | None = PrivateAttr(default=None)

    @property
    def warmup_note(self) -> str | None:
        """A line for the user if the warm-up of a shipped config was shortened; None otherwise."""
        return self._warmup_note

    @model_validator(mode="after")
    def _check_combinations(self) -> "Experiment":
        self._check_augmentations()
        self._check_classifiers()
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size = {self.batch_size}: must be a multiple of accumulate, which is {self.accumulate}"
            )
        if self.stop_after_no_gain and not self.knn_every:
            raise ValueError(
                f"stop_after_no_gain = {self.stop_after_no_gain}: needs kNN evaluations, but knn_every is 0"
            )
        self.method.check_batch(self.batch_size // self.accumulate)
        return self

    def _check_augmentations(self) -> None:
        names = list(type(self.augmentations).model_fields)
        for view in self.method.views:
            if view not in names:
                raise ValueError(
                    f"method.views = {list(self.method.views)}: no such augmentation: {view}{near_misses(view, names)}"
                )
        for name in names:
            if name not in (*BUILTIN_AUGMENTATIONS, *self.method.views):
                raise ValueError(
                    f"augmentations.{name}: no view of {self.method.name} uses this augmentation"
                    f"{near_misses(name, BUILTIN_AUGMENTATIONS)}"
                )
        if isinstance(self.method, MultiCrop.Config):
            self.method.require_global_views(self.view_sizes)

    def _check_classifiers(self) -> None:
        if not self.evaluation.classifiers:
            raise ValueError(f"evaluation.classifiers = []: must be one or several of {', '.join(ON_FEATURES)}")
        for classifier in self.evaluation.classifiers:
            if classifier not in ON_FEATURES:
                raise ValueError(
                    f"evaluation.classifiers: a run ends with {', '.join(ON_FEATURES)} only; use "
                    f"`evaluate RUN --protocol {classifier}` after the run"
                )

    @property
    def view_sizes(self) -> list[int]:
        """Side length of each view of the method, in pixels."""
        return [self.augmentation(view).size or self.img_size for view in self.method.views]

    @property
    def knn_epochs(self) -> list[int]:
        """Epochs after which kNN is evaluated, ascending; 0 is before the first step."""
        if not self.knn_every:
            return []
        start = [0] if self.knn_at_start else []
        return [*start, *range(self.knn_every, self.epochs, self.knn_every), self.epochs]

    def augmentation(self, view: str) -> Augmentation:
        """Return the augmentation of that name, with `img_size` as its size unless it has its own."""
        augmentation: Augmentation = getattr(self.augmentations, view)
        return (
            augmentation if augmentation.size is not None else augmentation.model_copy(update={"size": self.img_size})
        )

    def resolve_auto(self, precision: PrecisionSetting, compile_augmentations: AutoSwitch) -> Self:
        """Return the settings with `auto` replaced by these values."""
        values = {"precision": precision, "compile_augmentations": compile_augmentations}
        return self.model_copy(update={name: values[name] for name in values if getattr(self, name) == "auto"})

    def restore_auto(self, saved: Self) -> Self:
        """Return the settings with `auto` and unset measurements of the data set replaced by those of a saved run."""
        dataset = self.dataset.restore_measured(saved.dataset)
        restored = self.resolve_auto(saved.precision, saved.compile_augmentations)
        return restored.model_copy(update={"dataset": dataset})

    def with_dataset(self, dataset: DatasetConfig) -> Self:
        """Return the settings with those of a data set whose images have been measured, see `Data.config`."""
        return self.model_copy(update={"dataset": dataset})

    def settings(self) -> dict[str, Any]:
        """Return all settings as plain values, without unused augmentations."""
        settings = self.model_dump(mode="json")
        used = {*self.method.views, "probe", "test"}
        settings["augmentations"] = {
            name: augmentation for name, augmentation in settings["augmentations"].items() if name in used
        }
        return settings

    def as_yaml(self) -> str:
        """Return the settings as YAML that `--config` reads, with the name of each part first."""
        content = self.settings()
        for part, settings in content.items():
            if isinstance(settings, dict) and "name" in settings:
                content[part] = {"name": settings["name"], **settings}
        return dump_layer({"format": FORMAT, **content})
