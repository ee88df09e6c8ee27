"""What a run is made of: the accelerator, the method with its parts, trackers."""

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
from sslzoo.modules.backbones import create_backbone
from sslzoo.modules.optim import create_optimizer, create_schedule
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import accelerator_precision, create_accelerator
from sslzoo.train.folder import RunFolder


def start_accelerator(experiment: Experiment) -> Accelerator:
    """The accelerator, with all processes seeded alike.

    Raises:
        UserError: the device cannot do what `precision` asks, or batches do not divide among the processes.
    """
    for tracker in experiment.tracker:
        if LoggerType(tracker) not in get_available_trackers():  # accelerate would leave it out in silence
            raise UserError(f"--tracker {tracker}: not installed; `pip install {tracker}`")
    accelerator = create_accelerator(
        experiment.precision,
        gradient_accumulation_steps=experiment.accumulate,
        log_with=list(experiment.tracker) or None,
        project_config=ProjectConfiguration(logging_dir=str(experiment.output)),
    )
    if experiment.compile_augmentations is True and (reason := explain_missing_kernel(accelerator.device.type)):
        raise UserError(f"--compile-augmentations: {reason}")
    if experiment.gradient_cache and not issubclass(METHODS.get(experiment.method.name), InBatchMethod):
        able = [name for name, method in METHODS if issubclass(method, InBatchMethod)]
        raise UserError(
            f"--gradient-cache: {experiment.method.name} does not contrast within the batch; {', '.join(able)} do"
        )
    batch, world = experiment.batch_size // experiment.accumulate, accelerator.num_processes
    if batch % world:
        raise UserError(f"--batch-size {experiment.batch_size}: does not divide among {world} processes")
    if experiment.method.split_bn % world and experiment.method.split_bn > 1:
        raise UserError(
            f"--method.split-bn {experiment.method.split_bn}: must be a multiple of the {world} processes, or 1"
        )
    return accelerator


def resolve_auto(experiment: Experiment, accelerator: Accelerator) -> Experiment:
    """The settings with `auto` resolved for this machine."""
    return experiment.resolve_auto(
        accelerator_precision(accelerator), explain_missing_kernel(accelerator.device.type) is None
    )


def count_steps(experiment: Experiment, data: Data, world: int) -> int:
    """Optimizer steps of an epoch; the last incomplete one is left out.

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
    """The backbone as it is before training, the same whenever it is asked for."""
    set_seed(experiment.seed)
    return create_backbone(
        experiment.backbone,
        in_chans=experiment.dataset.channels,
        img_size=experiment.img_size,
        view_sizes=experiment.view_sizes,
        report=report,
    )


def create_method(experiment: Experiment, report: Callable[[str], None] | None = None) -> Method:
    """The method with its backbone, target and loss.

    Args:
        report: called with one line about the loaded and skipped tensors of the backbone's checkpoint.
    """
    backbone = create_seeded_backbone(experiment, report)
    return build_method(experiment.method, experiment.target, experiment.loss, backbone, seed=experiment.seed)


class Learner(NamedTuple):
    """What is trained, and by what."""

    model: nn.Module
    """The method, prepared by the accelerator."""
    optimizer: Optimizer
    """Prepared by the accelerator."""
    schedule: Scheduler | None
    steps_per_epoch: int


def create_learner(
    experiment: Experiment, data: Data, accelerator: Accelerator, report: Callable[[str], None] | None = None
) -> Learner:
    """A method that is about to be trained on these images.

    Args:
        report: see `create_method`.

    Raises:
        UserError: the data set is smaller than a batch, or has no labels for a method that learns from them, or weights
            are not right.
    """
    steps_per_epoch = count_steps(experiment, data, accelerator.num_processes)
    method = create_method(experiment, report)
    if method.supervised and not data.train.has_labels:
        raise UserError(f"--method {method.name}: learns from labels, and {experiment.dataset.name} (train) has none")
    method.begin(data.train.id_bound, experiment.epochs)
    if accelerator.device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    if experiment.compile:
        from torch._inductor import config as inductor  # its import takes seconds

        inductor.triton.mix_order_reduction = False  # torch 2.11 fails to fuse split batch norm with it
        method.compile()
    optimizer = create_optimizer(
        experiment.optimizer, method, experiment.batch_size, fused=can_fuse_optimizer(accelerator)
    )
    schedule = create_schedule(
        experiment.schedule, optimizer, epochs=experiment.epochs, steps_per_epoch=steps_per_epoch
    )
    model, prepared = accelerator.prepare(method, optimizer)
    return Learner(model, prepared, schedule, steps_per_epoch)


def can_fuse_optimizer(accelerator: Accelerator) -> bool:
    """Whether one kernel may update all parameters: on a GPU, without a gradient scaler (see `create_optimizer`)."""
    return accelerator.device.type == "cuda" and accelerator.scaler is None


def start_trackers(experiment: Experiment, accelerator: Accelerator, folder: RunFolder) -> None:
    """Start the trackers with the whole config; those that write files write below the run folder."""
    if experiment.tracker:
        accelerator.project_configuration.logging_dir = str(folder.path)
        config = {"run": folder.path.name} | dict(flatten(experiment.settings()))
        accelerator.init_trackers("sslzoo", config=config)


def flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float]]:
    """Settings of settings as `method.momentum`, lists and None as words, as trackers take them."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str | int | float) else str(value)
