"""Record how a run was trained: method, processes, device, time and memory."""

import resource
import sys
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from sslzoo.data.load import Data
from sslzoo.method.base import Method
from sslzoo.runtime.distributed import state_digests
from sslzoo.runtime.environment import device_name
from sslzoo.training.folder import RunFolder
from sslzoo.training.loop import TrainingLoop


def record_training(training: TrainingLoop, data: Data, resumed_at: int) -> dict[str, Any]:
    """Return the entries of the summary that describe a finished training; called by all processes.

    Args:
        resumed_at: step at which this process started.

    Raises:
        RuntimeError: the state differs between processes.
    """
    experiment, accelerator = training.experiment, training.accelerator
    return {
        "method": experiment.method.name,
        "target": experiment.target.name if experiment.target else None,
        "loss": experiment.loss.name if experiment.loss else None,
        "directions": experiment.method.directions,
        "epochs": training.epochs_done,
        "early_stop": None if training.early_stop is None else training.early_stop.as_dict(),
        "steps": training.step,
        "train_images": len(data.train),
        "health": training.metrics.doctor.verdict.as_dict(),
        "processes": accelerator.num_processes,
        "state_digests": require_equal_states(training.method),
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "resumed_at_step": resumed_at,
        "skipped": sorted(set(gather_object(data.skipped.messages))),
        **measure_cost(accelerator, training.folder, images=training.step * experiment.batch_size),
    }


def measure_cost(accelerator: Accelerator, folder: RunFolder, images: int) -> dict[str, Any]:
    """Return time and memory of training, including the parts of a resumed run; called by all processes.

    Args:
        images: number of training images over all epochs.

    Returns:
        `train_seconds` without kNN and the final evaluation; `images_per_second`, the mean; `peak_memory`, the largest
        number of bytes of a process since it started, on host and device (None on a CPU).
    """
    seconds = sum(record.get("seconds", 0.0) for record in folder.read_metrics())
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
    """Return the peak host memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require_equal_states(method: Method) -> list[str]:
    """Return the digest of weights, teacher and queue on each process.

    Raises:
        RuntimeError: the digests differ, which indicates an error in the method.
    """
    digests = state_digests(method)
    if len(set(digests)) > 1:
        raise RuntimeError(f"weights or queues differ between processes: {', '.join(digests)}")
    return digests
