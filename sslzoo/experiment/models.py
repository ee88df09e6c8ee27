"""Create the schema of a run: `Experiment` with the settings of the chosen parts."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tyro
from pydantic import create_model

from sslzoo.config.layers import Layer
from sslzoo.config.schema import Config, PartConfig
from sslzoo.data.augment.config import Augmentation
from sslzoo.experiment.schema import Experiment
from sslzoo.losses import LOSSES
from sslzoo.method.base import Method
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.method.pair import PairMethod
from sslzoo.runtime.errors import UserError, format_value
from sslzoo.targets import TARGETS


def choose_target_and_loss(method: type[Method], names: Mapping[str, str | None]) -> Layer:
    """Choose target and loss: the requested ones, else the method's own.

    Args:
        names: requested names by kind of part; None, or no entry, if the user requested none.

    Returns:
        `{"target": {"name": ...}, "loss": {"name": ...}}`; both None for a method without pairs.

    Raises:
        UserError: a name is unknown, or the parts are incompatible.
    """
    requested = {part: name for part in ("target", "loss") if (name := names.get(part)) is not None}
    if not issubclass(method, PairMethod):
        for part, name in requested.items():
            raise UserError(f"--{part} {name}: {method.name} compares no pairs and accepts no {part}")
        return {"target": None, "loss": None}
    target = TARGETS.get(names.get("target") or method.default_target or "")
    loss = LOSSES.get(requested["loss"]) if "loss" in requested else choose_loss(method, target)
    if reason := explain_mismatch(method, target, loss):
        flags = " ".join(f"--{part} {name}" for part, name in {"method": method.name, **requested}.items())
        raise UserError(f"{flags}: {reason}")
    return {"target": {"name": target.name}, "loss": {"name": loss.name}}


def create_experiment_model(method: type[Method], content: Layer) -> type[Experiment]:
    """Create `Experiment` with the settings of a method, and of the target, loss and augmentations in `content`.

    Raises:
        UserError: a target, loss or augmentation has an invalid name.
    """
    fields: dict[str, Any] = {"method": (_create_part_model(method), ...)}
    for part, registry in (("target", TARGETS), ("loss", LOSSES)):
        settings = content.get(part)
        if settings is None:
            fields[part] = (type(None), None)
        else:
            fields[part] = (_create_part_model(registry.get(settings["name"])), ...)
    fields["augmentations"] = (create_augmentations_model(content.get("augmentations", {})), ...)
    return create_model("Experiment", __base__=Experiment, __doc__=Experiment.__doc__, **fields)


def create_augmentations_model(augmentations: object) -> type[Config]:
    """Create a schema with one group of settings for each name in `augmentations`.

    Raises:
        UserError: `augmentations` is not a mapping, or a name is not an identifier.
    """
    if not isinstance(augmentations, dict):
        raise UserError(f"augmentations = {format_value(augmentations)}: must be a mapping of names to augmentations")
    for name in augmentations:
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(
                f"augmentations.{name}: the name of an augmentation must consist of letters, digits and _, and must "
                "not start with a digit"
            )
    fields: dict[str, Any] = dict.fromkeys(augmentations, (Augmentation, ...))
    return create_model("Augmentations", __base__=Config, **fields)


def _create_part_model(part: Any) -> type[PartConfig]:
    """Create the settings of a part, with its name as a constant."""
    config: type[PartConfig] = part.Config
    name: Any = (Annotated[Literal[part.name], tyro.conf.Suppress], part.name)
    return create_model(part.__name__, __base__=config, __doc__=part.__doc__, name=name)
