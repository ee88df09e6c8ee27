"""sslzoo: contrastive self-supervised image models as plug-ins.

A method is a framework (which encoders), a target (what a query should match) and a loss (how the
prediction is scored); each part is looked up by name and can be swapped.

The names below are the public interface. They are imported when they are first used, so that `import sslzoo` does
not import torch.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslzoo.config import Config
    from sslzoo.data import DATASETS, Source
    from sslzoo.data.augment import Augmentation
    from sslzoo.losses import LOSSES, Loss
    from sslzoo.method import METHODS, InBatchMethod, Method, MethodOutput, PairMethod
    from sslzoo.runtime.errors import UserError
    from sslzoo.targets import TARGETS, Target, TargetOutput

__version__ = "0.1.0"

__all__ = [
    "DATASETS",
    "LOSSES",
    "METHODS",
    "TARGETS",
    "Augmentation",
    "Config",
    "InBatchMethod",
    "Loss",
    "Method",
    "MethodOutput",
    "PairMethod",
    "Source",
    "Target",
    "TargetOutput",
    "UserError",
]

_PACKAGES = {
    "sslzoo.config": ("Config",),
    "sslzoo.data": ("DATASETS", "Source"),
    "sslzoo.data.augment": ("Augmentation",),
    "sslzoo.losses": ("LOSSES", "Loss"),
    "sslzoo.method": ("METHODS", "InBatchMethod", "Method", "MethodOutput", "PairMethod"),
    "sslzoo.runtime.errors": ("UserError",),
    "sslzoo.targets": ("TARGETS", "Target", "TargetOutput"),
}

_root = Path(__file__).resolve().parent.parent
if (_root / "methods").is_dir() and (_root / "configs").is_dir():
    # In a checkout `methods/` and `configs/` are at the top; this makes them `sslzoo.methods` and `sslzoo.configs`.
    __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    for package, names in _PACKAGES.items():
        if name in names:
            return getattr(import_module(package), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
