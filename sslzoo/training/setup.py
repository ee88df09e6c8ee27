"""Set up training: accelerator, method, optimizer, schedule and trackers."""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType, ProjectConfiguration, set_seed
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from sslzoo.data.augment.view import explain_missing_kernel
from sslzoo.data.load import Data
from sslzoo.data.loader import batches_per_epoch
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import METHODS, Method
from sslzoo.method.build import build_method
from sslzoo.method.in_batch import InBatchMethod
from sslzoo.modules.adapters import add_adapters
from sslzoo.modules.backbones import create_backbone
from sslzoo.modules.layers import freeze_layers
from sslzoo.modules.optim import create_optimizer, create_schedule
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import accelerator_precision, create_accelerator
from sslzoo.training.folder import RunFolder


def start_accelerator(experiment: Experiment) -> Accelerator:
    """Create the accelerator and check the settings that depend on the machine.

    Raises:
        UserError: the device does not support the precision, or see `require_trackers` and `check_settings`.
    """
    require_trackers(experiment)
    accelerator = create_accelerator(
        experiment.precision,
        gradient_accumulation_steps=experiment.accumulate,
        log_with=list(experiment.tracker) or None,
        project_config=ProjectConfiguration(logging_dir=str(experiment.output)),
    )
    check_settings(experiment, accelerator)
    return accelerator


def require_trackers(experiment: Experiment) -> None:
    """Check that the trackers are installed; accelerate would ignore a missing one without a message.

    Raises:
        UserError: a tracker is not installed.
    """
    for tracker in experiment.tracker:
        if LoggerType(tracker) not in get_available_trackers():
            raise UserError(f"--tracker {tracker}: not installed; `pip install {tracker}`")


def check_settings(experiment: Experiment, accelerator: Accelerator) -> None:
    """Check the settings that depend on device, method and number of processes.

    Raises:
        UserError: augmentations cannot be compiled, the method does not support gradient caching, or the batch or
            `split_bn` does not divide among the processes.
    """
    if experiment.compile_augmentations is True and (reason := explain_missing_kernel(accelerator.device.type)):
        raise UserError(f"--compile-augmentations: {reason}")
    if experiment.gradient_cache and not issubclass(METHODS.get(experiment.method.name), InBatchMethod):
        supported = [name for name, method in METHODS if issubclass(method, InBatchMethod)]
        raise UserError(
            f"--gradient-cache: {experiment.method.name} does not contrast within the batch; {', '.join(supported)} do"
        )
    batch, world = experiment.batch_size // experiment.accumulate, accelerator.num_processes
    if batch % world:
        raise UserError(f"--batch-size {experiment.batch_size}: does not divide among {world} processes")
    if experiment.method.split_bn % world and experiment.method.split_bn > 1:
        raise UserError(
            f"--method.split-bn {experiment.method.split_bn}: must be a multiple of the {world} processes, or 1"
        )


def resolve_auto(experiment: Experiment, accelerator: Accelerator) -> Experiment:
    """Resolve `auto` for this machine."""
    return experiment.resolve_auto(
        accelerator_precision(accelerator), explain_missing_kernel(accelerator.device.type) is None
    )


def count_steps(experiment: Experiment, data: Data, world: int) -> int:
    """Count the optimizer steps of an epoch; the last incomplete step is dropped.

    Args:
        world: number of processes.

    Raises:
        UserError: the data set is smaller than a batch.
    """
    batches = batches_per_epoch(len(data.train), experiment.batch_size // experiment.accumulate // world, world)
    steps = batches // experiment.accumulate
    if steps == 0:
        raise UserError(
            f"--batch-size {experiment.batch_size}: the data set has only {len(data.train)} training images"
        )
    return steps


def create_seeded_backbone(experiment: Experiment, report: Callable[[str], None] | None = None) -> nn.Module:
    """Seed all random numbers and create the backbone, so that every call returns the same initial weights."""
    set_seed(experiment.seed)
    return create_backbone(
        experiment.backbone,
        in_chans=experiment.dataset.channels,
        img_size=experiment.img_size,
        view_sizes=experiment.view_sizes,
        report=report,
    )


def create_method(experiment: Experiment, report: Callable[[str], None] | None = None) -> Method:
    """Create the method with its backbone, target and loss.

    Args:
        report: called with a line about the loaded and skipped tensors of the backbone's checkpoint.

    Raises:
        UserError: the backbone cannot be created, has too few blocks to freeze, or cannot have adapters.
    """
    backbone = create_seeded_backbone(experiment, report)
    if experiment.backbone.freeze:
        freeze_layers(backbone, experiment.backbone.freeze)
    if experiment.backbone.lora:
        add_adapters(backbone, experiment.backbone.lora)
    return build_method(experiment.method, experiment.target, experiment.loss, backbone, seed=experiment.seed)


class Learner(NamedTuple):
    """A method with its optimizer and schedule, ready for training."""

    model: nn.Module
    """The method as prepared by the accelerator."""
    optimizer: Optimizer
    """The optimizer as prepared by the accelerator."""
    schedule: Scheduler | None
    """Learning rate schedule; None for a constant learning rate."""
    steps_per_epoch: int
    """Optimizer steps per epoch."""


def create_learner(
    experiment: Experiment, data: Data, accelerator: Accelerator, report: Callable[[str], None] | None = None
) -> Learner:
    """Create method, optimizer and schedule for training on these images.

    Args:
        report: see `create_method`.

    Raises:
        UserError: the data set is smaller than a batch, a supervised method has no labels, or weights cannot be loaded.
    """
    steps_per_epoch = count_steps(experiment, data, accelerator.num_processes)
    method = create_method(experiment, report)
    if method.supervised and not data.train.has_labels:
        raise UserError(f"--method {method.name}: learns from labels, and {experiment.dataset.name} (train) has none")
    method.begin(data.train.id_bound, experiment.epochs)
    if accelerator.device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    if experiment.compile:
        # torch 2.11 fails to fuse split batch norm with this option
        method.compile(options={"triton.mix_order_reduction": False})
    optimizer = create_optimizer(
        experiment.optimizer,
        method,
        experiment.batch_size,
        method.student.backbone,
        fused=can_fuse_optimizer(accelerator),
    )
    schedule = create_schedule(
        experiment.schedule, optimizer, epochs=experiment.epochs, steps_per_epoch=steps_per_epoch
    )
    model, prepared = accelerator.prepare(method, optimizer)
    return Learner(model, prepared, schedule, steps_per_epoch)


def can_fuse_optimizer(accelerator: Accelerator) -> bool:
    """Whether to use a fused optimizer: on a GPU without a gradient scaler (see `create_optimizer`)."""
    return accelerator.device.type == "cuda" and accelerator.scaler is None


NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "GRADIO_ANALYTICS_ENABLED": "False"}
"""Environment variables that keep trackers from reporting their use to their makers; set unless the user has."""


def start_trackers(experiment: Experiment, accelerator: Accelerator, folder: RunFolder) -> None:
    """Start the trackers with all settings, under the name of the run; those that write files use the run folder."""
    if experiment.tracker:
        for name, value in NO_TELEMETRY.items():
            os.environ.setdefault(name, value)
        accelerator.project_configuration.logging_dir = str(folder.path)
        config = {"run": folder.path.name} | dict(flatten_settings(experiment.settings()))
        names = {
            "wandb": {"name": folder.path.name, "dir": str(folder.path)},
            "trackio": {"name": folder.path.name},
            "mlflow": {"run_name": folder.path.name},
        }
        accelerator.init_trackers("sslzoo", config=config, init_kwargs=names)


def flatten_settings(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float]]:
    """Flatten nested settings to names such as `method.momentum`; lists and None become text, as trackers need."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten_settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str | int | float) else str(value)
