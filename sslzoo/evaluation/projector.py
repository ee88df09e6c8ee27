"""The first layers of a run's projector behind its backbone."""

from pathlib import Path

from torch import nn

from sslzoo.config.folders import find_newest_weights
from sslzoo.experiment.compose import compose
from sslzoo.modules.heads import Encoder, Head, HeadConfig, feature_width
from sslzoo.runtime.errors import UserError
from sslzoo.weights.read import read_tensors

PREFIX = "student.projector."
"""Beginning of the names of the projector's tensors in a checkpoint."""


def add_projector(backbone: nn.Module, run: Path | None, layers: int) -> Encoder:
    """Create an encoder of a backbone and the first layers of the run's projector, from its newest checkpoint.

    A layer is a linear one with its normalization and activation.

    Raises:
        UserError: there is no run, or it has no checkpoint or no projector with so many layers.
    """
    flag = f"--projector-layers {layers}"
    if run is None:
        raise UserError(f"{flag}: needs a run folder, whose checkpoint has the projector")
    config = getattr(compose(["--config", str(run / "config.yaml")]).method, "projector", None)
    saved = find_newest_weights(run)
    if not isinstance(config, HeadConfig):
        raise UserError(f"{flag}: the method of {run} has no projector of this kind")
    if layers > config.layers:
        raise UserError(f"{flag}: the projector of {run} has {config.layers}")
    if saved is None:
        raise UserError(f"{flag}: {run} has no checkpoint, which has the projector")
    head, tensors = Head(feature_width(backbone), config), read_tensors(saved)
    names = [name for name in head.state_dict() if PREFIX + name in tensors]
    try:
        head.load_state_dict({name: tensors[PREFIX + name] for name in names})
    except RuntimeError:
        raise UserError(f"{flag}: {saved} has no projector as in the config of the run") from None
    return Encoder(backbone, nn.Sequential(*take_layers(head, layers)))


def take_layers(head: Head, layers: int) -> list[nn.Module]:
    """Return the modules of the first linear layers of a head, each with what follows it."""
    modules = list(head)
    starts = [number for number, module in enumerate(modules) if isinstance(module, nn.Linear)]
    return modules[: starts[layers] if layers < len(starts) else len(modules)]
