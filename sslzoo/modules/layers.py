"""Layers of a backbone in order: freeze the first ones, or give each its own learning rate."""

from typing import Any

from torch import nn

from sslzoo.runtime.errors import UserError


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
    from timm.models import group_parameters  # timm takes seconds to import

    numbers: dict[str, int] = group_parameters(backbone, matcher(coarse=False), reverse=True)
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
    for module in backbone.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.frozen = True  # type: ignore[assignment]


def is_frozen(module: nn.Module) -> bool:
    """Whether `freeze_layers` has frozen a module, or the module of which it is a copy."""
    return getattr(module, "frozen", False) is True


def evaluate_frozen(model: nn.Module) -> None:
    """Set the frozen modules of a model, which may be in training, to evaluation."""
    for module in model.modules():
        if is_frozen(module):
            module.eval()


def group_by_layer(
    model: nn.Module, backbone: nn.Module, *, layer_decay: float, weight_decay: float, decay_all: bool
) -> list[dict[str, Any]]:
    """Divide the trainable parameters of a model into optimizer groups, with a learning rate for each layer.

    The last layer of the backbone and everything outside it have `lr_scale` 1, and each earlier layer has `layer_decay`
    times that of the next one (Bao et al., BEiT, ICLR 2022, appendix; timm's `param_groups_layer_decay`).

    Args:
        backbone: the part of the model with layers.
        decay_all: apply the weight decay to biases and norms as well.
    """
    from timm.optim import param_groups_layer_decay

    number_layers(backbone)
    named: Any = getattr(backbone, "no_weight_decay", tuple)
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        backbone,
        weight_decay=weight_decay,
        no_weight_decay_list=() if decay_all else named(),
        weight_decay_exclude_1d=not decay_all,
        layer_decay=layer_decay,
    )
    inside = {id(parameter) for parameter in backbone.parameters()}
    others = [part for part in model.parameters() if part.requires_grad and id(part) not in inside]
    for decays in (True, False):
        if parameters := [part for part in others if (decay_all or part.ndim > 1) == decays]:
            groups.append({"params": parameters, "lr_scale": 1.0, "weight_decay": weight_decay if decays else 0.0})
    return groups
