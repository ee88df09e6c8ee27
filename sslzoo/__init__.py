"""sslzoo: contrastive self-supervised image models as plug-ins.

A method encodes views and compares them with candidates, a target decides what a query should match, and a loss scores
the prediction. Each part is found by name and can be exchanged.

The names in `__all__` are the public interface: functions for scripts and notebooks, and what plug-ins and their tests
need. They are imported on first use, so that `import sslzoo` does not import torch.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslzoo.api.compare import compare
    from sslzoo.api.embed import embed
    from sslzoo.api.evaluate import Evaluation, evaluate
    from sslzoo.api.run import Run
    from sslzoo.api.train import train
    from sslzoo.check.tiny import create_tiny_method, sample_tiny_batch
    from sslzoo.config import Config
    from sslzoo.data import DATASETS, Source
    from sslzoo.data.augment import Augmentation
    from sslzoo.data.load import load_data
    from sslzoo.embedding.embeddings import Embeddings
    from sslzoo.experiment.compose import compose
    from sslzoo.losses import LOSSES, Loss
    from sslzoo.method import METHODS, InBatchMethod, Method, MethodOutput, PairMethod
    from sslzoo.modules.heads import Encoder, HeadConfig
    from sslzoo.modules.momentum import MomentumConfig, Teacher
    from sslzoo.modules.queue import Queue
    from sslzoo.runtime.errors import UserError
    from sslzoo.targets import TARGETS, Target, TargetOutput
    from sslzoo.training.callbacks import Event
    from sslzoo.training.stop import Interrupted

__version__ = "0.1.0"

__all__ = [
    "DATASETS",
    "LOSSES",
    "METHODS",
    "TARGETS",
    "Augmentation",
    "Config",
    "Embeddings",
    "Encoder",
    "Evaluation",
    "Event",
    "HeadConfig",
    "InBatchMethod",
    "Interrupted",
    "Loss",
    "Method",
    "MethodOutput",
    "MomentumConfig",
    "PairMethod",
    "Queue",
    "Run",
    "Source",
    "Target",
    "TargetOutput",
    "Teacher",
    "UserError",
    "compare",
    "compose",
    "create_tiny_method",
    "embed",
    "evaluate",
    "load_data",
    "sample_tiny_batch",
    "train",
]

_MODULES = {
    "sslzoo.api.compare": ("compare",),
    "sslzoo.api.embed": ("embed",),
    "sslzoo.api.evaluate": ("Evaluation", "evaluate"),
    "sslzoo.api.run": ("Run",),
    "sslzoo.api.train": ("train",),
    "sslzoo.check.tiny": ("create_tiny_method", "sample_tiny_batch"),
    "sslzoo.config": ("Config",),
    "sslzoo.data": ("DATASETS", "Source"),
    "sslzoo.data.augment": ("Augmentation",),
    "sslzoo.data.load": ("load_data",),
    "sslzoo.embedding.embeddings": ("Embeddings",),
    "sslzoo.experiment.compose": ("compose",),
    "sslzoo.losses": ("LOSSES", "Loss"),
    "sslzoo.method": ("METHODS", "InBatchMethod", "Method", "MethodOutput", "PairMethod"),
    "sslzoo.modules.heads": ("Encoder", "HeadConfig"),
    "sslzoo.modules.momentum": ("MomentumConfig", "Teacher"),
    "sslzoo.modules.queue": ("Queue",),
    "sslzoo.runtime.errors": ("UserError",),
    "sslzoo.targets": ("TARGETS", "Target", "TargetOutput"),
    "sslzoo.training.callbacks": ("Event",),
    "sslzoo.training.stop": ("Interrupted",),
}

_root = Path(__file__).resolve().parent.parent
if (_root / "methods").is_dir() and (_root / "configs").is_dir():
    # In a checkout `methods/` and `configs/` are at the top; this makes them `sslzoo.methods` and `sslzoo.configs`.
    __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
