"""Low-rank adapters: train a small product of matrices beside each linear layer instead of the layer itself."""

import copy
from typing import Any

from torch import nn

from sslzoo.modules.layers import mark_frozen
from sslzoo.runtime.errors import UserError


def add_adapters(backbone: nn.Module, rank: int) -> None:
    """Add an adapter to each trainable linear layer of a backbone, and freeze everything else.

    A layer W x becomes W x + B A x, where B starts at 0, so the features do not change at first (Hu et al., "LoRA:
    Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1, with alpha = rank).

    Args:
        rank: rows of A and columns of B.

    Raises:
        UserError: peft is not installed, or no linear layer of the backbone is trainable.
    """
    peft = _import_peft(rank)
    names = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    if not names:
        raise UserError(
            f"--backbone.lora {rank}: {type(backbone).__name__} has no linear layers to adapt; "
            "use --backbone.freeze, or a vision transformer"
        )
    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=names), backbone)
    mark_frozen(backbone)


def merge_adapters(backbone: nn.Module) -> nn.Module:
    """Return a copy of a backbone in which each layer with an adapter is one linear layer W + B A again."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # takes seconds to import

    merged = copy.deepcopy(backbone)
    adapted = {name: module for name, module in merged.named_modules() if isinstance(module, BaseTunerLayer)}
    for name, module in adapted.items():
        module.merge()
        merged.set_submodule(name, module.get_base_layer())
    return merged


def _import_peft(rank: int) -> Any:
    try:
        import peft  # takes seconds
    except ImportError:
        raise UserError(f"--backbone.lora {rank}: needs peft; `pip install 'sslzoo[lora]'`") from None
    return peft
