"""Export weights as safetensors files that timm loads."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from sslzoo.runtime.files import replace


def export_backbone(backbone: nn.Module, path: Path, *, name: str, arguments: dict[str, Any]) -> None:
    """Write a backbone so that `timm.create_model(name, checkpoint_path=path, **arguments)` loads it.

    The file contains exactly the parameters and buffers under their names in timm; name and arguments are in the
    metadata. Equal weights are equal files. It is written to a temporary file and renamed.

    Args:
        name: name of the model in timm.
        arguments: arguments of the model in timm, such as `{"in_chans": 1, "num_classes": 0}`.
    """
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in backbone.state_dict().items()}
    metadata = {"format": "pt", "timm_model": name, "timm_arguments": json.dumps(arguments)}
    partial = path.with_suffix(".tmp")
    partial.write_bytes(_sort_header(save(weights, metadata=metadata)))
    replace(partial, path)


def _sort_header(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which `save` writes in random order.

    The file starts with the length of its header, 8 bytes, and the header, JSON padded by spaces.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + text.ljust(length) + content[8 + length :]
