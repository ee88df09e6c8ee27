"""Translate the tensor names of ResNets in other projects to those of timm."""

import re
from collections.abc import Mapping

from torch import Tensor

PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
"""The modules of a ResNet with tensors, in order; the classifier follows."""


def translate_name(name: str, parts: Mapping[str, str]) -> str:
    """Return timm's name for a tensor of a ResNet; other names do not change.

    `shortcut`, used by lightly and by other ResNets for small images, becomes `downsample`.

    Args:
        parts: result of `match_sequential`.
    """
    first, dot, rest = name.partition(".")
    name = parts.get(first, first) + dot + rest
    return re.sub(r"^(layer\d+\.\d+\.)shortcut\.", r"\1downsample.", name)


def match_sequential(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return `{"0": "conv1", "1": "bn1", "4": "layer1", ...}` for the tensors of `nn.Sequential(*resnet.children())`.

    The numbers depend on the modules in between: ReLU and max-pool have no tensors. Empty for any other model.
    """
    firsts = {name.partition(".")[0] for name in tensors}
    if not all(first.isdecimal() for first in firsts) or len(firsts) not in (len(PARTS), len(PARTS) + 1):
        return {}
    numbers = sorted(firsts, key=int)
    stem, norm, layer = (tensors.get(f"{number}{rest}") for number, rest in zip(numbers, EXPECTED, strict=False))
    if stem is None or norm is None or layer is None or stem.ndim != 4 or norm.ndim != 1:
        return {}
    return dict(zip(numbers, (*PARTS, "fc"), strict=False))


EXPECTED = (".weight", ".weight", ".0.conv1.weight")
"""Suffixes of tensors by which conv1, bn1 and layer1 are recognized."""


def lacks_relu(parts: Mapping[str, str]) -> bool:
    """Whether no module is between bn1 and layer1; a functional ReLU is not among the children."""
    numbers = {part: int(number) for number, part in parts.items()}
    return bool(parts) and numbers["layer1"] - numbers["bn1"] == 1
