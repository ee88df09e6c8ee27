"""ResNets under other names than timm's."""

import re
from collections.abc import Mapping

from torch import Tensor

PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
"""The parts of a ResNet that have tensors, in order; the classifier comes after them."""


def timm_name(name: str, parts: Mapping[str, str]) -> str:
    """The name that timm has for a tensor of a ResNet; any other name as it is.

    `shortcut`, of lightly's ResNet and of others for small images, is `downsample`.

    Args:
        parts: what `parts_of_sequential` found.
    """
    first, dot, rest = name.partition(".")
    name = parts.get(first, first) + dot + rest
    return re.sub(r"^(layer\d+\.\d+\.)shortcut\.", r"\1downsample.", name)


def parts_of_sequential(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """`{"0": "conv1", "1": "bn1", "4": "layer1", ...}` for the tensors of `nn.Sequential(*resnet.children())`.

    The numbers depend on the modules in between: ReLU and max-pool have no tensors. Empty for any other model.
    """
    firsts = {name.partition(".")[0] for name in tensors}
    if not all(first.isdecimal() for first in firsts) or len(firsts) not in (len(PARTS), len(PARTS) + 1):
        return {}
    numbers = sorted(firsts, key=int)
    stem, norm, layer = (tensors.get(f"{number}{rest}") for number, rest in zip(numbers, SIGNS, strict=False))
    if stem is None or norm is None or layer is None or stem.ndim != 4 or norm.ndim != 1:
        return {}
    return dict(zip(numbers, (*PARTS, "fc"), strict=False))


SIGNS = (".weight", ".weight", ".0.conv1.weight")
"""What conv1, bn1 and layer1 are known by."""


def lacks_relu(parts: Mapping[str, str]) -> bool:
    """Whether no module is between bn1 and layer1: a functional ReLU is not among the children."""
    where = {part: int(number) for number, part in parts.items()}
    return bool(parts) and where["layer1"] - where["bn1"] == 1
