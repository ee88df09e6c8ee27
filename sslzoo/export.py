"""Weights out and in: safetensors that timm loads, and checkpoints of a timm model's architecture."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sslzoo.errors import UserError


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


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a file."""

    loaded: int
    left_out: list[str]

    def __str__(self) -> str:
        total = self.loaded + len(self.left_out)
        rest = f"; left out: {_few(self.left_out)}" if self.left_out else ""
        return f"{self.loaded} of {total} tensors loaded{rest}"


def load_weights(model: nn.Module, path: Path) -> LoadReport:
    """Load a local file into a timm model without classifier; the file's classifier is left out.

    Every other tensor has to have its place, and the model none without a tensor.

    Args:
        path: a .safetensors file, or one that `torch.load(weights_only=True)` reads.

    Raises:
        UserError: no such file, not a file of weights, or weights of another model.
    """
    weights = read_weights(path)
    cfg = getattr(model, "pretrained_cfg", None) or {}
    heads = cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    wanted = model.state_dict()
    left_out = [key for key in weights if key not in wanted and key.rpartition(".")[0] in heads]
    kept = {key: value for key, value in weights.items() if key not in left_out}
    faults = {
        "missing": [key for key in wanted if key not in kept],
        "unexpected": [key for key in kept if key not in wanted],
        "of another shape": [
            f"{key} {tuple(value.shape)} for {tuple(wanted[key].shape)}"
            for key, value in kept.items()
            if key in wanted and value.shape != wanted[key].shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(f"{len(keys)} {fault}: {_few(keys)}" for fault, keys in faults.items() if keys)
        raise UserError(f"--backbone.checkpoint {path}: weights of another model: {told}")
    model.load_state_dict(kept)
    return LoadReport(len(kept), left_out)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; nothing is unpickled but tensors.

    Raises:
        UserError: no such file, or not a file of weights.
    """
    if not path.is_file():
        raise UserError(f"--backbone.checkpoint {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose advice is to load it all the same
        raise UserError(
            f"--backbone.checkpoint {path}: cannot be read as weights: it is damaged, or holds more than tensors, "
            "which could run code and is never loaded; save the state_dict alone"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"--backbone.checkpoint {path}: cannot be read as weights: {reason}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"--backbone.checkpoint {path}: holds no state_dict, a mapping of names to tensors")
    return content


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
