"""Translate the tensor names of ResNets and EfficientNets in other projects to those of timm."""

import re
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
"""The modules of a ResNet with tensors, in order; the classifier follows."""


EFFICIENTNET = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
"""timm's names for the modules of an EfficientNet besides its blocks, by the names of EfficientNet-PyTorch."""
BLOCK = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_project_conv": "conv_pwl", "_bn2": "bn3"},
}
"""The same for the modules of a block."""
FIRST_BLOCK = BLOCK | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The same for a block that does not expand the channels."""


def translate_names(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, str]:
    """Return timm's name for each tensor of a ResNet or EfficientNet; other names do not change.

    `shortcut`, used by lightly and by other ResNets for small images, becomes `downsample`. In EfficientNet-PyTorch the
    blocks of all stages are numbered together.

    Args:
        tensors: tensors of the encoder by name.
        wanted: tensor names of the timm model.
    """
    if "_conv_stem.weight" in tensors:
        numbers = dict.fromkeys(tuple(name.split(".")[1:3]) for name in wanted if name.startswith("blocks."))
        blocks = [".".join(("blocks", *number)) for number in numbers]
        return {name: _translate_efficientnet(name, tensors, blocks) for name in tensors}
    parts = match_sequential(tensors)
    return {name: _translate_resnet(name, parts) for name in tensors}


def _translate_resnet(name: str, parts: Mapping[str, str]) -> str:
    first, dot, rest = name.partition(".")
    name = parts.get(first, first) + dot + rest
    return re.sub(r"^(layer\d+\.\d+\.)shortcut\.", r"\1downsample.", name)


def _translate_efficientnet(name: str, names: Collection[str], blocks: list[str]) -> str:
    found = re.match(r"_blocks\.(\d+)\.(\w+)\.(.*)", name)
    if found is None:
        first, dot, rest = name.partition(".")
        return EFFICIENTNET.get(first, first) + dot + rest
    number, module, rest = int(found[1]), found[2], found[3]
    if number >= len(blocks):
        return name
    table = BLOCK if f"_blocks.{number}._expand_conv.weight" in names else FIRST_BLOCK
    return f"{blocks[number]}.{table.get(module, module)}.{rest}"


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
