"""A whole run: set up, train, score, and write down what came out."""

import resource
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.console import Console
from safetensors import SafetensorError

from sslzoo.data.load import load_data
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method
from sslzoo.runtime.distributed import state_digests
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import claim_cores, join_processes, run_on_main_process
from sslzoo.runtime.progress import print_field, print_warning
from sslzoo.train.checkpoint import Checkpoints
from sslzoo.train.console import TrainingDisplay
from sslzoo.train.evaluator import Evaluator
from sslzoo.train.final import finalize_run
from sslzoo.train.folder import RunFolder
from sslzoo.train.header import print_header
from sslzoo.train.loop import Training
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.setup import create_learner, create_seeded_backbone, resolve_auto, start_accelerator, start_trackers
from sslzoo.train.stop import StopRequest
from sslzoo.train.unfinished import find_unfinished_run, restore_auto_settings


def pretrain(experiment: Experiment, resume: Path | Literal["auto"] | None = None) -> dict[str, Any] | None:
    """Train and score as the experiment says, in a new run folder or in the one to resume.

    Args:
        resume: folder of the run to resume; `auto` searches for an unfinished run with these settings.

    Returns:
        The summary, on the main process.

    Raises:
        UserError: a setting, the data or the weights are not right.
        Interrupted: a signal asked to stop; a checkpoint is saved.
    """
    claim_cores(experiment.threads)
    unfinished = (
        run_on_main_process(join_processes(), lambda: find_unfinished_run(experiment)) if resume == "auto" else resume
    )
    if unfinished is not None:
        experiment = restore_auto_settings(RunFolder.open(unfinished), experiment)
    accelerator = start_accelerator(experiment)
    setting, experiment = experiment.precision, resolve_auto(experiment, accelerator)
    console = Console(quiet=not accelerator.is_main_process)
    data = load_data(experiment.dataset)
    learner = create_learner(experiment, data, accelerator, report=partial(print_field, console, "weights"))
    method: Method = accelerator.unwrap_model(learner.model)
    evaluator = Evaluator(experiment, data, accelerator, console)
    folder = open_folder(experiment, unfinished, accelerator)
    checkpoints = Checkpoints(accelerator, folder.checkpoints, IntervalMeans(), keep=experiment.keep_checkpoints)
    step = checkpoints.load_newest(report=partial(print_warning, console))
    if accelerator.is_main_process:
        folder.forget_after(step)
    start_trackers(experiment, accelerator, folder)
    print_header(console, experiment, data, method, accelerator, folder, step, setting)

    training = Training(
        experiment,
        data.train,
        learner,
        accelerator,
        checkpoints.means,
        step,
        folder=folder,
        checkpoints=checkpoints,
        display=TrainingDisplay(
            console,
            epochs=experiment.epochs,
            steps_per_epoch=learner.steps_per_epoch,
            start=step,
            knn_epochs=experiment.knn_epochs if evaluator.knn_images is not None else (),
        ),
        watch=partial(evaluator.score_knn, method.student.backbone) if evaluator.knn_images is not None else None,
    )
    with StopRequest(experiment.save_minutes, accelerator.device) as stop:
        training.run(stop)
        with stop.at_once(f"stopped while scoring, the training is saved; --resume {folder.path} scores again"):
            facts: dict[str, Any] = {
                "method": experiment.method.name,
                "target": experiment.target.name if experiment.target else None,
                "loss": experiment.loss.name if experiment.loss else None,
                "directions": experiment.method.directions,
                "steps": training.step,
                "processes": accelerator.num_processes,
                "state_digests": equal_digests(method),
                "device": device_name(),
                "threads": torch.get_num_threads(),
                "resumed_at_step": step,
                "skipped": sorted(set(gather_object(data.skipped.messages))),
                **cost(accelerator, folder, images=training.step * experiment.batch_size),
            }
            if neighbors := evaluator.measure_neighbors(method):
                facts["neighbors"] = asdict(neighbors)
            backbone, untrained = method.student.backbone, create_seeded_backbone(experiment).to(accelerator.device)
            try:
                summary = finalize_run(experiment, data, evaluator, backbone, untrained, folder, console, facts)
            except (OSError, SafetensorError) as error:
                raise UserError(f"{folder.path}: {error}; --resume {folder.path} scores again") from error
    accelerator.end_training()
    return summary


def cost(accelerator: Accelerator, folder: RunFolder, images: int) -> dict[str, Any]:
    """What training took, over all parts of a run that was resumed; called by all processes.

    Args:
        images: that were trained on, each as often as it was.

    Returns:
        `train_seconds` without kNN and scoring; `images_per_second`, the mean; `peak_memory`, in bytes of the process
        that took most, of the host and of the device (None on a CPU), since the start or the last resume.
    """
    seconds = sum(record.get("seconds", 0.0) for record in folder.records())
    on_device = torch.cuda.max_memory_allocated() if accelerator.device.type == "cuda" else None
    peaks = gather_object([(peak_resident_bytes(), on_device)])
    return {
        "train_seconds": round(seconds, 1),
        "images_per_second": round(images / seconds, 1) if seconds else None,
        "peak_memory": {
            "host": max(host for host, _ in peaks),
            "device": None if on_device is None else max(device for _, device in peaks),
        },
    }


def peak_resident_bytes() -> int:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def equal_digests(method: Method) -> list[str]:
    """The fingerprints of weights, teacher and queue on all processes.

    Raises:
        RuntimeError: they differ, which a right method does not let happen.
    """
    digests = state_digests(method)
    if len(set(digests)) > 1:
        raise RuntimeError(f"the processes no longer have equal weights and queues: {', '.join(digests)}")
    return digests


def open_folder(experiment: Experiment, unfinished: Path | None, accelerator: Accelerator) -> RunFolder:
    """Create or open the run's folder on the main process, which locks it, and send its path to the others."""

    def choose() -> Path:
        return (RunFolder.create(experiment) if unfinished is None else RunFolder.open(unfinished)).path

    folder = RunFolder(run_on_main_process(accelerator, choose))
    run_on_main_process(accelerator, folder.lock)
    return folder
