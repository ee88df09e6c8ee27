"""Write a folder that timm loads by `local-dir:FOLDER`, and from the Hugging Face Hub by `hf-hub:OWNER/NAME`."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from timm.models import save_for_hf
from torch import nn

from sslzoo.experiment.input_config import describe_input
from sslzoo.modules.backbones import SMALL_STEMS
from sslzoo.runtime.files import replace, write_json
from sslzoo.sharing.finished import FinishedRun

FOLDER = "hub"
"""Name of the folder in the folder of a run."""
CONFIG = "config.json"
PLOTS = ("curves.png", "tsne.png")
"""Plots that are shared; augmentations.png is not, because it shows training images."""


def write_hub_folder(run: FinishedRun) -> Path:
    """Write weights, timm's config and plots of a run to its folder `hub`, and return that folder.

    Raises:
        UserError: the weights do not fit or are damaged.
        OSError: a file cannot be written.
    """
    folder = run.folder.path / FOLDER
    folder.mkdir(exist_ok=True)
    backbone = run.load_backbone()
    described = describe_backbone(run, backbone)
    backbone.pretrained_cfg = described  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
        temporary = Path(name)
        save_for_hf(backbone, str(temporary), model_args=run.arguments, safe_serialization=True)
        complete_config(temporary / CONFIG, described)
        for plot in PLOTS:
            if (run.folder.path / plot).is_file():
                shutil.copyfile(run.folder.path / plot, temporary / plot)
        mode = (temporary / CONFIG).stat().st_mode
        for file in sorted(temporary.iterdir()):
            file.chmod(mode)  # safetensors writes files that others cannot read
            replace(file, folder / file.name)
    return folder


def describe_backbone(run: FinishedRun, backbone: nn.Module) -> dict[str, Any]:
    """Return timm's `pretrained_cfg` of a backbone: its names of layers, and the images of the run."""
    known: dict[str, Any] = getattr(backbone, "pretrained_cfg", None) or {}
    architecture = known.get("architecture") if ":" in run.architecture else run.architecture.partition(".")[0]
    small = str(architecture).endswith(tuple(SMALL_STEMS.values()))
    return {
        "architecture": architecture,
        "custom_load": False,
        **describe_input(run.experiment),
        "fixed_input_size": known.get("fixed_input_size", False),
        "num_classes": 0,
        "first_conv": "conv1" if small else known.get("first_conv"),
        "classifier": known.get("classifier"),
    }


def complete_config(path: Path, described: dict[str, Any]) -> None:
    """Replace the `pretrained_cfg` in timm's config file, which versions of timm derive from the model differently."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["architecture"] = described["architecture"]
    config["pretrained_cfg"] = {
        key: value for key, value in described.items() if key != "architecture" and value is not None
    }
    write_json(path, config)
