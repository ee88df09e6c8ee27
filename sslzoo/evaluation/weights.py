"""One argument that names the weights of an encoder."""

from pathlib import Path
from typing import NamedTuple

from sslzoo.runtime.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".tar", ".bin", ".npz", ".pkl")
"""Endings of files of weights."""


class WeightFlags(NamedTuple):
    """The flags that name the weights of an encoder."""

    run: Path | None = None
    backbone: str | None = None
    pretrained: bool = False
    checkpoint: str | None = None


def list_weight_flags(weights: str, backbone: str | None = None) -> WeightFlags:
    """Find out what names the weights: a run folder, a file, or a name of timm or the Hub.

    Args:
        weights: run folder, file of weights, timm's name such as `resnet50.a1_in1k`, `hf-hub:owner/model` or
            `local-dir:path`.
        backbone: timm's name of the architecture, which a file needs.

    Raises:
        UserError: a file of weights is named without its architecture, or an architecture is given for other weights.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        if (path / "config.json").is_file() and not (path / "config.yaml").is_file():
            return WeightFlags(backbone=f"local-dir:{weights}", pretrained=True)
        _refuse_backbone(weights, backbone)
        return WeightFlags(run=path)
    if path.is_file() or weights.endswith(SUFFIXES):
        if backbone is None:
            raise UserError(f"{weights}: a file of weights needs --backbone NAME, timm's name of its architecture")
        return WeightFlags(backbone=backbone, checkpoint=weights)
    if "/" in weights and ":" not in weights:
        raise UserError(f"{weights}: no such run folder or file of weights; models of the Hub start with hf-hub:")
    _refuse_backbone(weights, backbone)
    return WeightFlags(backbone=weights, pretrained=True)


def _refuse_backbone(weights: str, backbone: str | None) -> None:
    if backbone is not None:
        raise UserError(f"--backbone {backbone}: cannot be combined with {weights}, which defines the encoder")
