"""Suggest settings with which the weights of a file fit a model."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

RESNETS: dict[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
    ("wide", (3, 4, 6, 3)): "wide_resnet50_2",
    ("wide", (3, 4, 23, 3)): "wide_resnet101_2",
}
"""timm's names of torchvision's ResNets, by block type and number of blocks."""

VITS = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large", (1280, 32): "huge"}
"""Names of vision transformer sizes, by width and depth."""


def suggest_settings(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Explain why the tensors of a file do not fit a model and which settings would, based on their shapes.

    Args:
        wanted: the model's state_dict.
        given: the file's tensors, with timm's names where known.
    """
    lines = []
    if any("encoder_layer_" in name or name.endswith("conv_proj.weight") for name in given):
        lines.append("torchvision's vision transformers have other tensors than timm's and are not supported")
    file, model = guess_architecture(given), guess_architecture(wanted)
    if file is not None and file != model:
        lines.append(f"these are tensors of {file}: --backbone {file}")
    for name in ("conv1.weight", "patch_embed.proj.weight"):
        lines += _check_first_layer(wanted.get(name), given.get(name))
    return lines + _check_position_embedding(wanted, given)


def guess_architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """Return timm's name of the ResNet or vision transformer with these tensors, None if it is not clear."""
    patch, first = tensors.get("patch_embed.proj.weight"), tensors.get("layer1.0.conv1.weight")
    if patch is not None and patch.ndim == 4:
        depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        size = VITS.get((patch.shape[0], depth))
        return f"vit_{size}_patch{patch.shape[-1]}_224" if size and "blocks.0.attn.qkv.weight" in tensors else None
    if first is None:
        return None
    blocks = tuple(
        len({name.split(".")[1] for name in tensors if name.startswith(f"layer{layer}.")}) for layer in (1, 2, 3, 4)
    )
    second, last = tensors.get("layer1.0.conv2.weight"), tensors.get("layer1.0.conv3.weight")
    if second is None or second.shape[1] != first.shape[0]:  # grouped convolutions
        return None
    width = (first.shape[0], 0 if last is None else last.shape[0])
    kind = {(64, 0): "basic", (64, 256): "bottleneck", (128, 256): "wide"}.get(width, "")
    return RESNETS.get((kind, blocks))


def find_head_mismatch(model: nn.Module, given: Mapping[str, Tensor]) -> str | None:
    """Detect that a model has another number of attention heads than the file's, which shapes do not show.

    The small models of MoCo v3 (facebookresearch/moco-v3, vits.py) and of solo-learn's MoCo v3 and MAE have 12 heads,
    those of timm 6 or 3. They are recognized by a fixed position embedding that is zero for the class token.
    """
    position, blocks = given.get("pos_embed"), getattr(model, "blocks", None)
    if position is None or position.shape[-1] not in (192, 384) or position[:, 0].any() or blocks is None:
        return None
    heads = getattr(getattr(blocks[0], "attn", None), "num_heads", 12)
    if heads == 12:
        return None
    return (
        "its position embeddings are fixed as in MoCo v3, whose small models have 12 attention heads; this one has "
        f"{heads}: --backbone.kwargs '{{num_heads: 12}}'"
    )


def _check_first_layer(ours: Tensor | None, theirs: Tensor | None) -> list[str]:
    if ours is None or theirs is None or not ours.ndim == theirs.ndim == 4:
        return []
    lines = []
    if theirs.shape[1] != ours.shape[1]:
        lines.append(f"the file is for images with {theirs.shape[1]} channels, the data set has {ours.shape[1]}")
    match (ours.shape[-1], theirs.shape[-1]):
        case (3, 7):
            lines.append("the file's first convolution is 7x7: --backbone.stem standard")
        case (7, 3):
            lines.append("the file's first convolution is 3x3: --backbone.stem small, small-pool if it has a max-pool")
    return lines


def _check_position_embedding(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Suggest the image size that the file's position embedding has."""
    ours, theirs, patch = wanted.get("pos_embed"), given.get("pos_embed"), given.get("patch_embed.proj.weight")
    if ours is None or theirs is None or patch is None or ours.shape[1] == theirs.shape[1]:
        return []
    tokens = theirs.shape[1] - ("cls_token" in given)
    side = math.isqrt(tokens)
    if side * side != tokens:
        return []
    return [f"the file's position embedding is for {side} x {side} patches: --img-size {side * patch.shape[-1]}"]
