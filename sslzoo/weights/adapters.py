"""Low-rank adapters in a checkpoint."""

from collections.abc import Mapping

from torch import Tensor

BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"
"""Parts of the names that peft gives to a layer with an adapter and to the matrices A and B."""


def merge_adapters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each linear layer with an adapter, W and B A, by one with the weight W + B A, under its original name.

    The factor of the adapters is 1, as in `sslzoo.modules.adapters`.
    """
    merged = {}
    for name, value in tensors.items():
        layer, _, kind = name.partition(BASE)
        if kind == "weight":
            try:
                value = value + tensors[layer + UP] @ tensors[layer + DOWN]
            except (KeyError, RuntimeError):  # no matrices, or ones that do not fit
                continue  # the weight is reported as missing
        if not name.endswith((DOWN, UP)):
            merged[f"{layer}.{kind}" if kind else name] = value
    return merged
