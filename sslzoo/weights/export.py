"""Export weights as safetensors files that timm loads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from sslzoo.runtime.files import write_bytes

INPUT_KEYS = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
"""Entries of timm's `pretrained_cfg` that describe the images of an encoder."""
RANGE = "range"
"""A further entry: the two pixel values that become 0 and 1; not for pixels of 8 bits, where they are 0 and 255."""


def export_backbone(
    backbone: nn.Module,
    path: Path,
    *,
    name: str,
    arguments: dict[str, Any],
    input_config: Mapping[str, Any] | None = None,
) -> None:
    """Write a backbone so that `timm.create_model(name, checkpoint_path=path, **arguments)` loads it.

    The file contains exactly the parameters and buffers under their names in timm; name, arguments and the description
    of the images are in the metadata. Equal weights are equal files. It is written to a temporary file and renamed.

    Args:
        name: name of the model in timm.
        arguments: arguments of the model in timm, such as `{"in_chans": 1, "num_classes": 0}`.
        input_config: `INPUT_KEYS` of the images that the backbone was trained with, and `RANGE` if it is not that of 8
            bits; None if they are not known.
    """
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in backbone.state_dict().items()}
    metadata = {"format": "pt", "timm_model": name, "timm_arguments": json.dumps(arguments)}
    if input_config is not None:
        metadata["timm_input"] = json.dumps(
            {key: input_config[key] for key in (*INPUT_KEYS, RANGE) if key in INPUT_KEYS or key in input_config}
        )
    write_bytes(path, _sort_header(save(weights, metadata=metadata)))


def read_input_config(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Return `INPUT_KEYS` and `RANGE` from the metadata of an exported file; None if they are missing or invalid."""
    try:
        stated = json.loads(metadata["timm_input"])
        size, mean, std = (
            list(map(kind, stated[key])) for key, kind in (("input_size", int), ("mean", float), ("std", float))
        )
        text = {key: str(stated[key]) for key in ("interpolation", "crop_mode")}
        value_range = list(map(float, stated.get(RANGE, (0, 1))))
        read = {"input_size": size, "mean": mean, "std": std, "crop_pct": float(stated["crop_pct"]), **text}
    except (KeyError, TypeError, ValueError):
        return None
    if RANGE in stated:
        read[RANGE] = value_range
    valid = len(size) == 3 and len(mean) == len(std) == size[0] and min(*size, *std) > 0
    return read if valid and len(value_range) == 2 and value_range[0] < value_range[1] else None


def _sort_header(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which `save` writes in random order.

    The file starts with the length of its header, 8 bytes, and the header, JSON padded by spaces.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + text.ljust(length) + content[8 + length :]
