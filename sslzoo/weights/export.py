"""Export weights as safetensors files that timm loads."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn


def export_backbone(backbone: nn.Module, path: Path, *, name: str, arguments: dict[str, Any]) -> None:
    """Write a backbone so that `timm.create_model(name, checkpoint_path=path, **arguments)` loads it.

    The file contains exactly the parameters and buffers under their names in timm; name and arguments are in the
    metadata. It is written to a temporary file and renamed.

    Args:
        name: name of the model in timm.
        arguments: arguments of the model in timm, such as `{"in_chans": 1, "num_classes": 0}`.
    """
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in backbone.state_dict().items()}
    metadata = {"format": "pt", "timm_model": name, "timm_arguments": json.dumps(arguments)}
    partial = path.with_suffix(".tmp")
    save_file(weights, partial, metadata=metadata)
    partial.replace(path)
