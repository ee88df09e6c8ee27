"""Short trainings on the digits, in Python and by the same flags on the command line."""

from pathlib import Path
from typing import Any

import sslzoo

SETTINGS: dict[str, Any] = {
    "method": {"name": "ascl", "queue_size": 128},
    "backbone": {"kwargs": {"channels": [8, 8, 8, 8]}},
    "dataset": {"limit": 256, "test-limit": 60},
    "schedule.warmup_epochs": 0,
    "epochs": 2,
    "batch_size": 32,
    "log_every": 4,
    "knn_every": 2,
    "threads": 1,
    "precision": "fp32",
    "evaluation": {"draws": 2, "linear": {"epochs": 2}},
}
FLAGS = [
    "--method", "ascl", "--method.queue-size", "128", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}",
    "--dataset.limit", "256", "--dataset.test-limit", "60", "--schedule.warmup-epochs", "0", "--epochs", "2",
    "--batch-size", "32", "--log-every", "4", "--knn-every", "2", "--threads", "1", "--precision", "fp32",
    "--evaluation.draws", "2", "--evaluation.linear.epochs", "2",
]  # fmt: skip
STEPS = 16


def read_weights(run: sslzoo.Run | Path) -> bytes:
    """Read the exported weights of a finished run; equal weights are equal files."""
    return (getattr(run, "path", run) / "backbone.safetensors").read_bytes()


def list_steps(folder: Path) -> list[int]:
    """List the steps of the checkpoints of a run."""
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))
