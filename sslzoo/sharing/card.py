"""Write the model card of a run: how the encoder was trained, its scores, and how to load it."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from sslzoo.config.layers import dump_layer
from sslzoo.data.config import DatasetConfig
from sslzoo.experiment.format import FORMAT
from sslzoo.experiment.input_config import describe_input
from sslzoo.method.base import METHODS
from sslzoo.modules.backbones import SMALL_STEMS
from sslzoo.modules.heads import feature_width
from sslzoo.sharing.finished import FinishedRun
from sslzoo.sharing.hub_folder import FOLDER, PLOTS
from sslzoo.sharing.scores import list_protocols, list_scores

UNNAMED = "OWNER/NAME"
"""Stands for the repository in a card until `push` knows it."""
CAPTIONS = {"curves.png": "Loss and held-out kNN accuracy over epochs", "tsne.png": "t-SNE of features of test images"}


def render_card(run: FinishedRun, *, license: str | None) -> str:
    """Render the card as Markdown with the metadata that the Hub reads.

    Args:
        license: identifier of the Hub, such as `mit`; None leaves it out.
    """
    template = (files("sslzoo.sharing") / "card.md.j2").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    return environment.from_string(template).render(collect_content(run, license))


def collect_content(run: FinishedRun, license: str | None) -> dict[str, Any]:
    """Collect the values of the template."""
    experiment, method = run.experiment, METHODS.get(run.experiment.method.name)
    backbone = run.load_backbone()
    path = experiment.dataset.path
    on_hub = experiment.dataset.source == "huggingface" and path is not None and not _is_local(path)
    return {
        "repository": UNNAMED,
        "license": license,
        "architecture": run.architecture,
        "registered_by_sslzoo": run.architecture.endswith(tuple(SMALL_STEMS.values())),
        "parameters": f"{sum(parameter.numel() for parameter in backbone.parameters()) / 1e6:.2f}",
        "width": feature_width(backbone),
        "mode": "L" if experiment.dataset.channels == 1 else "RGB",
        "input": experiment.dataset if is_unusual(experiment.dataset) else None,
        "input_config": describe_input(experiment),
        "dataset": experiment.dataset.name,
        "hub_dataset": path if on_hub else None,
        "method": method.name,
        "paper": method.paper,
        "supervised": method.supervised,
        "settings": list_settings(run),
        "scores": list_scores(run),
        "protocols": list_protocols(run),
        "command": format_command(run),
        "config": dump_layer({"format": FORMAT, **hide_paths(experiment.settings())}),
        "plots": [(name, CAPTIONS[name]) for name in PLOTS if (run.folder.path / name).is_file()],
        "versions": list_versions(run),
    }


def is_unusual(dataset: DatasetConfig) -> bool:
    """Whether Pillow and timm's transform do not read the images of a run: other channels, or more than 8 bits."""
    return dataset.channels not in (1, 3) or dataset.dtype in ("uint16", "float32")


def list_settings(run: FinishedRun) -> list[tuple[str, str]]:
    """List the settings that readers look for first."""
    experiment, summary = run.experiment, run.summary
    optimizer, schedule = experiment.optimizer, experiment.schedule
    images = summary.get("train_images")
    start = experiment.backbone
    weights = "a file" if start.checkpoint is not None else "timm's weights" if start.pretrained else "random"
    stated = {
        "method": experiment.method.name,
        "target": experiment.target.name if experiment.target else None,
        "loss": experiment.loss.name if experiment.loss else None,
        "views": " + ".join(dict.fromkeys(experiment.method.views)) + f" ({len(experiment.method.views)})",
        "training images": f"{images:,}" if isinstance(images, int) else None,
        "image size": f"{experiment.img_size} px",
        "initial weights": weights,
        "epochs": str(summary.get("epochs", experiment.epochs)),
        "batch size": str(experiment.batch_size),
        "optimizer": f"{optimizer.name}, lr {optimizer.scale_learning_rate(experiment.batch_size):g}, "
        f"weight decay {optimizer.weight_decay:g}",
        "schedule": f"{schedule.name}, {schedule.warmup_epochs:g} epochs of warm-up",
        "precision": experiment.precision,
        "seed": str(experiment.seed),
        "hardware": f"{summary.get('device')}, processes: {summary.get('processes')}",
        "training time": f"{summary['train_seconds'] / 3600:.2f} h" if "train_seconds" in summary else None,
    }
    return [(name, value) for name, value in stated.items() if value is not None]


def format_command(run: FinishedRun) -> str:
    """Return the command that trained the run."""
    program, *words = run.environment.get("command") or ["run.py", "--config", "config.yaml"]
    start = {"run.py": ["python", "run.py"], "__main__.py": ["python", "-m", "sslzoo"]}.get(program, [program])
    return shlex.join([*start, *words])


def list_versions(run: FinishedRun) -> str:
    """List the versions of the packages that matter for the weights."""
    packages = run.environment.get("packages", {})
    versions = [f"{name} {packages[name]}" for name in ("sslzoo", "torch", "timm") if name in packages]
    commit = run.environment.get("commit")
    return ", ".join([*versions, *([f"commit {commit}"] if commit else [])])


def hide_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out the paths of this machine, which mean nothing elsewhere."""
    kept = {key: value for key, value in settings.items() if key not in ("run_folder", "output", "plugin")}
    dataset = {key: value for key, value in settings["dataset"].items() if key != "cache_dir"}
    if _is_local(dataset["path"]):
        dataset["path"] = None
    backbone = dict(settings["backbone"])
    if backbone["checkpoint"] is not None:
        backbone["checkpoint"] = Path(backbone["checkpoint"]).name
    return {**kept, "dataset": dataset, "backbone": backbone}


def _is_local(path: str | None) -> bool:
    """Whether a data set's path is one of this machine and not a name on the Hub."""
    return path is not None and (path.startswith((".", "/", "~")) or path.count("/") != 1 or Path(path).exists())


def card_path(run: FinishedRun) -> Path:
    """Return the path of a run's card."""
    return run.folder.path / FOLDER / "README.md"
