"""Read a finished run that is to be shared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.modules.backbones import create_backbone, model_arguments, resolve_name
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import read_json, require_unchanged
from sslzoo.training.folder import RunFolder


@dataclass(frozen=True)
class FinishedRun:
    """A finished run."""

    folder: RunFolder
    experiment: Experiment
    summary: Mapping[str, Any]
    """Content of summary.json."""
    environment: Mapping[str, Any]
    """Content of environment.json."""
    evaluations: tuple[Mapping[str, Any], ...]
    """Contents of the result.json of each `evaluate RUN`, in the order of their folders."""

    @property
    def architecture(self) -> str:
        """Name of the backbone in timm's registry, or the name of a model on the Hub."""
        return resolve_name(self.experiment.backbone, self.experiment.img_size)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the backbone in timm."""
        experiment = self.experiment
        return model_arguments(experiment.backbone, in_chans=experiment.dataset.channels, img_size=experiment.img_size)

    def load_backbone(self) -> nn.Module:
        """Create the backbone with the weights of the run.

        Raises:
            UserError: the weights do not fit or are damaged.
        """
        own = {"name": self.architecture, "stem": "auto", "pretrained": False, "encoder": None}
        config = self.experiment.backbone.model_copy(update={**own, "checkpoint": self.folder.backbone})
        experiment = self.experiment
        backbone = create_backbone(
            config, in_chans=experiment.dataset.channels, img_size=experiment.img_size, report=lambda _: None
        )
        return backbone.to(memory_format=torch.contiguous_format).eval()


def read_finished_run(path: Path, command: str) -> FinishedRun:
    """Read a finished run.

    Args:
        command: name of the command, for error messages.

    Raises:
        UserError: the folder is not a finished run, or its files are damaged.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise UserError(f"{command} {path}: not a run folder (it has no config.yaml)")
    for file in (folder.summary, folder.backbone):
        if not file.is_file():
            raise UserError(
                f"{command} {path}: the run is not finished, it has no {file.name}; --resume {path} finishes it"
            )
    require_unchanged(folder.summary, *(file.name for file in (folder.config, folder.backbone, folder.environment)))
    return FinishedRun(
        folder,
        compose(["--config", str(folder.config)]),
        read_json(folder.summary),
        read_json(folder.environment) if folder.environment.is_file() else {},
        tuple(read_json(file) for file in sorted(path.glob("evaluations/*/result.json"))),
    )
