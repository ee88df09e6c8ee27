"""Weights out: safetensors that timm loads."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn


def export_backbone(backbone: nn.Module, path: Path, *, name: str, arguments: dict[str, Any]) -> None:
    """Write a backbone so that `timm.create_model(name, checkpoint_path=path, **arguments)` is that backbone.

    Every parameter and buffer under timm's own name, nothing else; name and arguments are in the metadata. The file
    is written aside and renamed.

    Args:
        name: of the model in timm.
        arguments: of the model in timm, such as `{"in_chans": 1, "num_classes": 0}`.
    """
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in backbone.state_dict().items()}
    metadata = {"format": "pt", "timm_model": name, "timm_arguments": json.dumps(arguments)}
    aside = path.with_suffix(".tmp")
    save_file(weights, aside, metadata=metadata)
    aside.replace(path)
