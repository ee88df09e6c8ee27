"""Layers of a backbone in order: freeze the first ones, or give each its own learning rate."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from sslzoo.runtime.errors import UserError, near_misses


def number_layers(backbone: nn.Module) -> dict[str, int]:
    """Number the layers of a timm model, by parameter name.

    0 is what comes before the blocks, such as the stem or patch embedding; blocks follow from 1; what comes after them
    belongs to the last block or has the last number. timm's `group_matcher` defines the blocks.

    Raises:
        UserError: timm does not define blocks for this model.
    """
    matcher: Any = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise UserError(f"--backbone: timm defines no blocks for {type(backbone).__name__}, so layers cannot differ")
    from timm import models  # takes seconds to import

    numbers: dict[str, int] = models.group_parameters(backbone, matcher(coarse=False), reverse=True)
    return numbers


def freeze_layers(backbone: nn.Module, blocks: int) -> None:
    """Exclude the first blocks, and everything before them, from training.

    Their parameters need no gradient, and their modules compute as in evaluation, so batch norm keeps its statistics.

    Args:
        blocks: number of blocks, from 1.

    Raises:
        UserError: the backbone has fewer blocks, or nothing would remain to be trained.
    """
    numbers = number_layers(backbone)
    last = max(numbers.values())
    if blocks >= last:
        raise UserError(f"--backbone.freeze {blocks}: must be below the number of blocks of the backbone, {last}")
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(numbers[name] > blocks)
    mark_frozen(backbone)


def mark_frozen(backbone: nn.Module) -> None:
    """Mark the modules whose parameters are all excluded from training; see `evaluate_frozen`."""
    for module in backbone.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.frozen = True  # type: ignore[assignment]


def is_frozen(module: nn.Module) -> bool:
    """Whether `mark_frozen` has marked a module, or the module of which it is a copy."""
    return getattr(module, "frozen", False) is True


def evaluate_frozen(model: nn.Module) -> None:
    """Set the frozen modules of a model, which may be in training, to evaluation."""
    for module in model.modules():
        if is_frozen(module):
            module.eval()


def group_parameters(
    model: nn.Module,
    backbone: nn.Module,
    *,
    layer_decay: float = 1,
    lr_scale: Mapping[str, float] | None = None,
    weight_decay: float,
    decay_all: bool,
) -> list[dict[str, Any]]:
    """Divide the trainable parameters of a model into optimizer groups by learning rate and weight decay.

    The last layer of the backbone and everything outside it have the whole learning rate, and each earlier layer has
    `layer_decay` times that of the next one (Bao et al., BEiT, ICLR 2022, appendix).

    Args:
        backbone: the part of the model with layers, or the model itself.
        lr_scale: factor of the learning rate by pattern of parameter names; the first pattern that matches counts.
        decay_all: apply the weight decay to biases and norms as well.

    Raises:
        UserError: a pattern matches no trainable parameter, or timm defines no blocks for the backbone.
    """
    numbers = number_layers(backbone) if layer_decay < 1 else {}
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for pattern in (lr_scale := lr_scale or {}):
        if not any(fnmatchcase(name, pattern) for name in trained):
            hint = near_misses(pattern, {name.rpartition(".")[0] + ".*" for name in trained})
            raise UserError(f"--optimizer.lr-scale {pattern}: matches no trainable parameter{hint}")
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in trained.items():
        scale = next((factor for pattern, factor in lr_scale.items() if fnmatchcase(name, pattern)), 1.0)
        if numbers and id(parameter) in names:
            scale *= layer_decay ** (max(numbers.values()) - numbers[names[id(parameter)]])
        decays = decay_all or parameter.ndim > 1
        new = {"params": [], "lr_scale": scale, "weight_decay": weight_decay if decays else 0.0}
        groups.setdefault((scale, decays), new)["params"].append(parameter)
    return list(groups.values())
