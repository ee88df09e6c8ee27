"""A whole run: set up, train, score, and write down what came out."""

import os
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DistributedDataParallelKwargs,
    LoggerType,
    ProjectConfiguration,
    broadcast_object_list,
    set_seed,
)
from rich.console import Console
from torch import nn

from sslzoo.backbones import BackboneConfig, create_backbone, resolve_name
from sslzoo.data.load import Data, load_data
from sslzoo.data.loader import batches_per_epoch
from sslzoo.distributed import state_digests
from sslzoo.errors import UserError
from sslzoo.experiment import Experiment
from sslzoo.losses import LOSSES
from sslzoo.method import METHODS, Method, PairMethod
from sslzoo.targets import TARGETS
from sslzoo.train import checkpoint
from sslzoo.train.console import TrainingDisplay
from sslzoo.train.finish import finish
from sslzoo.train.folder import RunFolder, environment
from sslzoo.train.loop import Training
from sslzoo.train.optim import create_optimizer, create_schedule
from sslzoo.train.scoring import Judge
from sslzoo.train.stop import StopRequest


def pretrain(experiment: Experiment, resume: Path | None = None) -> dict[str, Any] | None:
    """Train and score as the experiment says, in a new run folder or in the one to resume.

    Returns:
        The summary, on the main process.

    Raises:
        UserError: a setting, the data or the weights are not right.
        Interrupted: a signal asked to stop; a checkpoint is saved.
    """
    claim_cores(experiment.threads)
    accelerator = start_accelerator(experiment)
    console = Console(quiet=not accelerator.is_main_process)
    data = load_data(experiment.dataset)
    steps_per_epoch = count_steps(experiment, data, accelerator.num_processes)
    judge = Judge(experiment, data, accelerator)
    method = create_method(experiment)
    if accelerator.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        method.to(memory_format=torch.channels_last)
    if experiment.compile:
        method.compile()
    optimizer = create_optimizer(experiment.optimizer, method, experiment.batch_size)
    schedule = create_schedule(
        experiment.schedule, optimizer, epochs=experiment.epochs, steps_per_epoch=steps_per_epoch
    )
    folder = open_folder(experiment, resume, accelerator)
    model, prepared = accelerator.prepare(method, optimizer)
    step = checkpoint.load_latest(accelerator, folder.checkpoints)
    if accelerator.is_main_process:
        folder.forget_after(step)
    start_trackers(experiment, accelerator, folder)
    introduce(console, experiment, data, method, accelerator, folder, step)

    training = Training(
        experiment,
        data.train,
        model,
        prepared,
        schedule,
        accelerator,
        folder,
        TrainingDisplay(console, epochs=experiment.epochs, steps_per_epoch=steps_per_epoch, start=step),
        watch=(lambda: judge.watch(method.student.backbone)) if judge.watched is not None else None,
        step=step,
    )
    began = time.monotonic()
    with StopRequest(experiment.save_minutes, accelerator.device) as stop:
        training.run(stop)
        seconds = time.monotonic() - began
        with stop.at_once(f"stopped while scoring, the training is saved; --resume {folder.path} scores again"):
            facts = {
                "method": experiment.method.name,
                "target": experiment.target.name if experiment.target else None,
                "loss": experiment.loss.name if experiment.loss else None,
                "directions": experiment.method.directions,
                "steps": training.step,
                "processes": accelerator.num_processes,
                "state_digests": equal_digests(method),
                "device": environment()["device"],
                "train_seconds": round(seconds, 1),
                "resumed_at_step": step,
            }
            backbone, untrained = method.student.backbone, create_seeded_backbone(experiment)
            summary = finish(experiment, data, judge, backbone, untrained, folder, console, facts)
    accelerator.end_training()
    return summary


def claim_cores(threads: int) -> None:
    """Give this process its share of the machine's cores.

    Launchers set OMP_NUM_THREADS to 1 where nobody else did, which would leave a CPU run on one core; any other
    value of it is taken to be the user's.
    """
    if not threads and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        threads = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if threads:
        torch.set_num_threads(threads)


def start_accelerator(experiment: Experiment) -> Accelerator:
    """The accelerator, with all processes seeded alike.

    Raises:
        UserError: the device cannot do what `precision` asks.
    """
    for tracker in experiment.tracker:
        if LoggerType(tracker) not in get_available_trackers():  # accelerate would leave it out in silence
            raise UserError(f"--tracker {tracker}: not installed; `pip install {tracker}`")
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")  # what `accelerate launch` was told
    if asked not in ("no", experiment.precision):
        raise UserError(
            f"--precision {experiment.precision}: `accelerate launch` is set to {asked}; give both the same, as in "
            f"--precision {asked if asked in ('bf16', 'fp16') else 'bf16'}"
        )
    try:
        accelerator = Accelerator(
            mixed_precision="no" if experiment.precision == "fp32" else experiment.precision,
            gradient_accumulation_steps=experiment.accumulate,
            log_with=list(experiment.tracker) or None,
            project_config=ProjectConfiguration(logging_dir=str(experiment.output)),
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
    except (ValueError, ImportError) as error:
        raise UserError(f"--precision {experiment.precision}: {error}") from error
    if accelerator.distributed_type.startswith(("FSDP", "DEEPSPEED", "MEGATRON")):
        raise UserError(
            f"accelerate launch: set to {accelerator.distributed_type.value}; sslzoo trains with whole copies of the "
            "encoders on each process, `accelerate launch --multi_gpu`"
        )
    batch, world = experiment.batch_size // experiment.accumulate, accelerator.num_processes
    if batch % world:
        raise UserError(f"--batch-size {experiment.batch_size}: does not divide among {world} processes")
    if experiment.method.splits % world and experiment.method.splits > 1:
        raise UserError(
            f"--method.split-bn {experiment.method.splits}: must be a multiple of the {world} processes, or 1"
        )
    return accelerator


def count_steps(experiment: Experiment, data: Data, world: int) -> int:
    """Optimiser steps of an epoch; the last incomplete one is left out.

    Raises:
        UserError: the data set is smaller than a batch.
    """
    batches = batches_per_epoch(len(data.train), experiment.batch_size // experiment.accumulate // world, world)
    steps = batches // experiment.accumulate
    if steps == 0:
        raise UserError(
            f"--batch-size {experiment.batch_size}: the data set has only {len(data.train)} training pictures"
        )
    return steps


def create_seeded_backbone(experiment: Experiment) -> nn.Module:
    """The backbone as it is before training, the same whenever it is asked for."""
    set_seed(experiment.seed)
    return create_backbone(experiment.backbone, in_chans=experiment.dataset.channels, img_size=experiment.img_size)


def create_method(experiment: Experiment) -> Method:
    """The method with its backbone, target and loss."""
    backbone = create_seeded_backbone(experiment)
    method = METHODS.get(experiment.method.name)
    if not issubclass(method, PairMethod):
        return method(experiment.method, backbone, seed=experiment.seed)
    assert experiment.target is not None
    assert experiment.loss is not None
    target = TARGETS.get(experiment.target.name)(experiment.target)
    loss = LOSSES.get(experiment.loss.name)(experiment.loss)
    return method(experiment.method, backbone, target, loss, seed=experiment.seed)


def equal_digests(method: Method) -> list[str]:
    """The fingerprints of weights, teacher and bank on all processes.

    Raises:
        RuntimeError: they differ, which a right method does not let happen.
    """
    digests = state_digests(method)
    if len(set(digests)) > 1:
        raise RuntimeError(f"the processes no longer have the same weights and bank: {', '.join(digests)}")
    return digests


def open_folder(experiment: Experiment, resume: Path | None, accelerator: Accelerator) -> RunFolder:
    """The run's folder: made by the main process, told to the others, or the one to resume."""
    if resume is not None:
        return RunFolder.open(resume)
    answer: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            answer = [RunFolder.create(experiment).path]
        except UserError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], UserError):
        raise answer[0]
    return RunFolder(answer[0])


def introduce(
    console: Console,
    experiment: Experiment,
    data: Data,
    method: Method,
    accelerator: Accelerator,
    folder: RunFolder,
    step: int,
) -> None:
    """Say what is about to be done, derived values included."""
    parameters = sum(parameter.numel() for parameter in method.student.backbone.parameters()) / 1e6
    pictures = [f"{len(data.train):,} pictures to train on"]
    pictures += [f"{len(data.labelled):,} labelled"] if data.labelled is not None else ["no labels"]
    pictures += [f"{len(data.test):,} to test on"] if data.test is not None else []
    optimizer = experiment.optimizer
    lr = f"lr {optimizer.scaled_lr(experiment.batch_size):g}"
    if optimizer.lr_batch is not None:
        lr += f" (scaled from {optimizer.lr:g} at batch {optimizer.lr_batch} to {experiment.batch_size})"
    decayed = "all parameters" if optimizer.decay_all else "all but biases and norms"
    target = f", target {experiment.target.name}" if experiment.target else ""
    lines = {
        "method": f"{experiment.method.name}{target}, views {' + '.join(experiment.method.views)}, "
        f"{experiment.method.directions}",
        "backbone": f"{resolve_name(experiment.backbone, experiment.img_size)}, {parameters:.2f} M parameters, "
        f"{experiment.img_size} px, {weights_of(experiment.backbone)}",
        "data": f"{experiment.dataset.name}, {', '.join(pictures)}",
        "optimiser": f"{optimizer.name}, {lr}, weight decay {optimizer.weight_decay:g} on {decayed}, "
        f"batch {experiment.batch_size}",
        "device": f"{accelerator.device.type}, {experiment.precision}, processes: {accelerator.num_processes}, "
        f"threads of each: {torch.get_num_threads()}",
        "run": f"{folder.path}" + (f", resumed at step {step}" if step else ""),
    }
    for label, text in lines.items():
        console.print(f"{label:>9}  {text}", highlight=False, soft_wrap=True)
    queue = getattr(experiment.method, "queue_size", 0)
    if queue > len(data.train):
        console.print(
            f"warning: method.queue_size = {queue}: the bank is larger than the data set, so older keys of a picture "
            "are among its own negatives",
            style="yellow",
            soft_wrap=True,
        )


def weights_of(backbone: BackboneConfig) -> str:
    """Where training starts from."""
    if backbone.checkpoint is not None:
        return f"weights of {backbone.checkpoint}"
    return "timm's pretrained weights" if backbone.pretrained else "random weights"


def start_trackers(experiment: Experiment, accelerator: Accelerator, folder: RunFolder) -> None:
    """Trackers beside metrics.jsonl, writing below the run folder where they write files."""
    if experiment.tracker:
        accelerator.project_configuration.logging_dir = str(folder.path)
        flat = {"method": experiment.method.name, "seed": experiment.seed, "run": folder.path.name}
        accelerator.init_trackers("sslzoo", config=flat)
