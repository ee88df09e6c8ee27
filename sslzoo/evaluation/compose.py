"""Compose the settings of an evaluation from YAML layers, the config of a run, protocols and flags."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import create_model

from sslzoo.config.arguments import ArgumentParser
from sslzoo.config.folders import find_newest_weights
from sslzoo.config.layers import Layer, config_names, find_layer, merge, merge_all, read_layer, read_layers
from sslzoo.config.schema import SettingError
from sslzoo.evaluation.job import STANDARD, EncoderJob, EvaluationJob
from sslzoo.experiment.compose import compose
from sslzoo.experiment.flags import has_flag, parse_flags
from sslzoo.experiment.layers import (
    DEFAULT_DATASET,
    expand_part_names,
    has_setting,
    is_shipped,
    read_dataset_layers,
    read_shipped_layers,
)
from sslzoo.experiment.models import create_augmentations_model
from sslzoo.experiment.plugins import load_plugins
from sslzoo.experiment.schema import Experiment
from sslzoo.experiment.settings import PYTHON, find_part_names, nest_settings
from sslzoo.experiment.warmup import fit_warmup
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.runtime.files import require_unchanged

AnyJob = TypeVar("AnyJob", bound=EncoderJob)

HELP = """
  run.py evaluate RUN                                        the backbone of a run
  run.py evaluate --backbone NAME --pretrained --dataset D   timm's weights
  run.py evaluate --backbone NAME --checkpoint FILE ...      weights of a file
  run.py evaluate RUN --dataset D                            transfer to another data set

  --protocol NAME ...   ({protocols})
  --dataset NAME  --backbone NAME  --config FILE-OR-NAME ...  --plugin FILE ...
"""


def compose_jobs(
    arguments: Sequence[str], settings: Mapping[str, Any] | None = None, *, prog: str = "run.py evaluate"
) -> list[tuple[str, EvaluationJob]]:
    """Compose the settings of each requested protocol.

    Args:
        arguments: of the command line; `select_weights` returns those that select weights.
        settings: further settings in Python, such as `{"dataset": "cifar10", "img_size": 64}`.
        prog: name of the program in the text of `--help`.

    Returns:
        (name, settings) of each protocol.

    Raises:
        UserError: a name or setting is unknown, a value is invalid, or there are no weights to evaluate.
        SystemExit: after `--help`.
    """
    words = list(arguments)
    run = Path(words.pop(0)) if words and not words[0].startswith("-") else None
    named, flags = _parse_names(words)
    values = nest_settings(settings or {})
    named.dataset = named.dataset or find_part_names(values).get("dataset")
    _require_known(values)
    layers = compose_layers(run, named)
    known = ", ".join(path.removeprefix("evaluation/") for path in config_names("evaluation"))
    description = f"{EvaluationJob.__doc__}\n{HELP.format(protocols=known)}"
    jobs = []
    for protocol in named.protocol or [None]:
        file = _find_protocol(protocol) if protocol else None
        layer = [] if file is None else [(str(file), read_layer(file))]
        job = create_job(EvaluationJob, [*layers, *(content for _, content in layer), values], flags, prog, description)
        own = select_own_layers([*read_named_layers(named), *layer, (PYTHON, values)])
        jobs.append((protocol or STANDARD, _fit_schedule(prefer_own_transform(job, own, flags), own, flags)))
    return jobs


def compose_layers(
    run: Path | None, named: argparse.Namespace, images: Layer | None = None, *, command: str = "evaluate"
) -> list[Layer]:
    """Compose the layers of an encoder and its images.

    Args:
        run: run folder of the encoder; None for other weights.
        named: what `add_names` parsed.
        images: settings above those of the data set or the run, and below those of `--config`.
        command: name in error messages.

    Raises:
        UserError: a name is unknown, or a run is not finished.
    """
    chosen = read_named_layers(named)
    loaded = load_plugins(chosen, named.plugin)
    layers = [layer for _, layer in read_shipped_layers("default")]
    if run is None:
        layers.append(_dataset_layer(named.dataset or DEFAULT_DATASET))
    else:
        layers += _run_layers(run, named.dataset, command)
    layers.append(images or {})
    plugins = [
        *(plugin for layer in layers for plugin in layer.get("plugin", [])),
        *loaded,
    ]  # the plug-ins of the run come first
    if named.backbone:  # replaces the variant that the data set's config defines
        layers = [{key: value for key, value in layer.items() if key != "backbone"} for layer in layers]
    layers += [expand_part_names(layer, source) for source, layer in chosen]
    layers.append(_backbone_layer(named, run) | {"plugin": list(dict.fromkeys(plugins))})
    return layers


def read_named_layers(named: argparse.Namespace) -> list[tuple[str, Layer]]:
    """Read the layers that `--config` names, each with its source."""
    return [layer for name in named.config for layer in read_layers(find_layer(name))]


def select_own_layers(layers: Sequence[tuple[str, Layer]]) -> list[Layer]:
    """Select the layers that are files of the user, from pairs of source and layer."""
    return [layer for source, layer in layers if not is_shipped(source)]


def prefer_own_transform(job: AnyJob, own: Sequence[Layer], flags: Sequence[str]) -> AnyJob:
    """Let flags and files of the user that describe the images win over what is known of a checkpoint file."""
    paths = (("augmentations", "test"), ("dataset", "mean"), ("dataset", "std"))
    chosen = any(has_flag(flags, ".".join(path)) or any(has_setting(layer, path) for layer in own) for path in paths)
    if job.transform == "auto" and job.run is None and job.backbone.checkpoint is not None and chosen:
        return job.model_copy(update={"transform": "dataset"})
    return job


def _fit_schedule(job: EvaluationJob, own: Sequence[Layer], flags: Sequence[str]) -> EvaluationJob:
    """Shorten a warm-up of fine-tuning that is too long for its epochs and that neither flags nor own files set.

    Args:
        own: config files of the user.
    """
    path = ("evaluation", "fine_tune", "schedule", "warmup_epochs")
    chosen = has_flag(flags, ".".join(path)) or any(has_setting(layer, path) for layer in own)
    fine_tune = job.evaluation.fine_tune
    fitted = fit_warmup(fine_tune.schedule, fine_tune.epochs, group=".".join(path[:-1]), chosen=chosen)
    if fitted.note is None:
        return job
    fine_tune = fine_tune.model_copy(update={"schedule": fitted.schedule})
    job = job.model_copy(update={"evaluation": job.evaluation.model_copy(update={"fine_tune": fine_tune})})
    if "fine-tune" in job.evaluation.classifiers:
        job._warmup_note = fitted.note
    return job


def add_names(parser: ArgumentParser) -> None:
    """Add the flags that name the weights, the data set, configs and plug-ins."""
    for several in ("config", "plugin"):
        parser.add_argument(f"--{several}", nargs="+", action="extend", default=[])
    for one in ("backbone", "dataset", "checkpoint"):
        parser.add_argument(f"--{one}")
    parser.add_argument("--pretrained", action="store_true")


def _parse_names(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = ArgumentParser(add_help=False)
    add_names(parser)
    parser.add_argument("--protocol", nargs="+", action="extend", default=[])
    return parser.parse_known_args(words)


def _run_layers(run: Path, dataset: str | None, command: str) -> list[Layer]:
    """Layers with encoder, images and protocol of a run; another data set uses the run's channels and normalization."""
    config = run / "config.yaml"
    if not config.is_file():
        raise UserError(f"{command} {run}: not a run folder (it has no config.yaml)")
    from sslzoo.modules.backbones import resolve_name

    require_unchanged(run / "summary.json", "config.yaml")
    experiment = compose(["--config", str(config)])
    weights = run / "backbone.safetensors"
    if not weights.is_file():
        saved = find_newest_weights(run)
        hint = (
            f"; `{command} --backbone {resolve_name(experiment.backbone, experiment.img_size)} "
            f"--checkpoint {saved}` {command}s its newest checkpoint"
            if saved
            else ""
        )
        raise UserError(
            f"{command} {run}: the run is not finished, it has no backbone.safetensors; "
            f"--resume {run} finishes it{hint}"
        )
    require_unchanged(run / "summary.json", weights.name)
    layer = experiment.model_dump(mode="json", include={"dataset", "augmentations", "evaluation", "plugin"})
    layer["augmentations"]["test"]["size"] = experiment.augmentation("test").size
    layer["backbone"] = experiment.backbone.model_dump(mode="json") | {
        "name": resolve_name(experiment.backbone, experiment.img_size),
        "stem": "auto",
        "pretrained": False,
        "checkpoint": str(weights),
    }
    layer["run"] = str(run)
    if dataset is None or dataset == experiment.dataset.name:
        return [layer]
    normalization = {key: layer["dataset"][key] for key in ("channels", "dtype", "range", "rgb", "mean", "std")}
    return [_dataset_layer(dataset), {**layer, "dataset": normalization, "evaluation": {}}]


def _dataset_layer(name: str) -> Layer:
    """The settings of a data set that concern evaluation; its training size becomes the size of the test view."""
    layer = merge_all(layer for _, layer in read_dataset_layers(name))
    kept: Layer = {key: layer[key] for key in ("dataset", "augmentations", "evaluation", "backbone") if key in layer}
    defaults: Layer = {"dataset": {"name": name}, "augmentations": {"test": {"size": layer.get("img_size")}}}
    return merge(defaults, kept)


def _backbone_layer(named: argparse.Namespace, run: Path | None) -> Layer:
    backbone: Layer = {}
    if run is not None:
        for flag in ("backbone", "checkpoint", "pretrained"):
            if getattr(named, flag):
                raise UserError(f"--{flag}: cannot be combined with the run folder {run}, which defines the encoder")
    if named.backbone:
        backbone["name"] = named.backbone
    if named.pretrained:
        backbone["pretrained"] = True
    if named.checkpoint:
        backbone["checkpoint"] = named.checkpoint
    return {"backbone": backbone} if backbone else {}


def _find_protocol(name: str) -> Path:
    known = [path.removeprefix("evaluation/") for path in config_names("evaluation")]
    if name in known:
        return find_layer(f"evaluation/{name}")
    if Path(name).is_file():
        return Path(name)
    raise UserError(f"--protocol {name}: no such protocol{near_misses(name, known)}")


def _require_known(settings: Layer) -> None:
    allowed = {*EvaluationJob.model_fields, "augmentations"}
    for key in settings:
        if key not in allowed:
            raise UserError(f"{key}: no such setting{near_misses(key, allowed)}")


def create_job(
    kind: type[AnyJob], layers: list[Layer], flags: list[str], prog: str, description: str, *, command: str = "evaluate"
) -> AnyJob:
    """Create settings from layers and flags; settings of runs and evaluations that `kind` does not have are dropped.

    Args:
        kind: schema of the settings.
        flags: such as `["--batch-size", "64"]`.
        prog: name of the program in the text of `--help`.
        description: text with which `--help` begins.
        command: name in error messages.

    Raises:
        UserError: a setting is unknown, a value is invalid, or there are no weights.
        SystemExit: after `--help`.
    """
    content = merge_all(layers)
    allowed = {*kind.model_fields}
    known = {*allowed, *EvaluationJob.model_fields, *Experiment.model_fields, "by_method"}
    unknown = [key for key in content if key not in known]
    if unknown:
        raise UserError(f"{unknown[0]}: no such setting{near_misses(unknown[0], allowed)}")
    content = {key: value for key, value in content.items() if key in allowed}
    model: type[AnyJob] = create_model(
        "Job",
        __base__=kind,
        __doc__=kind.__doc__,
        augmentations=(create_augmentations_model(content["augmentations"]), ...),
    )
    try:
        default = model(**content)
    except SettingError as error:
        raise UserError(str(error)) from None
    job = parse_flags(model, default, flags, prog, description)
    _check_weights(job, command)
    return job


def _check_weights(job: EncoderJob, command: str) -> None:
    backbone = job.backbone
    if not backbone.has_weights and not job.untrained:
        raise UserError(
            f"{command}: no weights for {backbone.name}: name a run folder, or give --pretrained (timm's weights), "
            "--checkpoint FILE, or --untrained (random ones, as a baseline)"
        )
    if backbone.has_weights and job.untrained:
        raise UserError("--untrained: cannot be combined with weights of a run, --pretrained or --checkpoint")
    if backbone.pretrained and backbone.checkpoint is not None:
        raise UserError(f"--pretrained: cannot be combined with --checkpoint {backbone.checkpoint}")
