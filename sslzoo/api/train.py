"""`sslzoo.train`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sslzoo.api.arguments import Names, list_words, open_data
from sslzoo.api.run import Run
from sslzoo.config.layers import Layer
from sslzoo.data.memory import NAME as MEMORY
from sslzoo.data.memory import choose_image_size
from sslzoo.experiment.compose import compose
from sslzoo.experiment.plugins import find_plugins
from sslzoo.experiment.resume import compose_resumed
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.isolation import preserve_process
from sslzoo.training.callbacks import Callback, Callbacks
from sslzoo.training.run import pretrain

Part = str | type | Mapping[str, Any] | None
"""A part: its name, its class, or a mapping with its settings and optionally its name."""
Resume = Literal["auto"] | str | os.PathLike[str] | Run | None


def train(
    data: object = None,
    *,
    method: Part = None,
    target: Part = None,
    loss: Part = None,
    backbone: Part = None,
    optimizer: Part = None,
    output: str | os.PathLike[str] | None = None,
    resume: Resume = None,
    resume_anyway: bool = False,
    config: Names = (),
    plugin: Names = (),
    on_step: Callback | None = None,
    on_epoch: Callback | None = None,
    on_checkpoint: Callback | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train an encoder and evaluate it, as `run.py` does on the command line; the weights are bit-identical.

    Each key of a config is an argument: `epochs=100`, `optimizer={"lr": 0.1}`, or `**{"optimizer.lr": 0.1}`.

    Args:
        data: path of a folder of images or of a parquet or .tar file, name of a data set such as `cifar10` or
            `owner/name` on the Hub, a `datasets.Dataset` or `DatasetDict`, a torch data set of PIL images or tensors
            with or without labels, or a mapping of the names of splits to such data sets. The default is `digits`.
        method: name, class, or mapping such as `{"name": "moco", "queue_size": 4096}`.
        target: of the method's pairs, likewise.
        loss: of the method's pairs, likewise.
        backbone: name of a timm model, or mapping.
        optimizer: name of a timm optimizer, or mapping.
        output: folder of the run; by default a new one in `runs/`.
        resume: folder of a run to resume, or a `Run`; `auto` resumes the unfinished run with the same settings, in
            `output` if it is given, and starts a new one if there is none.
        resume_anyway: resume although settings or data have changed; `summary` lists the changes.
        config: config files, or names of shipped ones such as `recipe/cpu`.
        plugin: files or modules that register custom parts.
        on_step: called after each optimizer step with an `Event`.
        on_epoch: called after each epoch with an `Event`.
        on_checkpoint: called after a checkpoint was saved with an `Event`.
        progress: whether to print progress and results.
        settings: all other keys of a config.

    Raises:
        UserError: a setting, the data or the weights are invalid.
        Interrupted: the training was interrupted, as by "Interrupt the kernel"; a checkpoint has been saved.
        Exception: a callback raised it; a checkpoint has been saved.
    """
    parts = {"method": method, "target": target, "loss": loss, "backbone": backbone, "optimizer": optimizer}
    given = {**settings, **{part: value for part, value in parts.items() if value is not None}}
    if output is not None:
        if "run_folder" in settings:
            raise UserError(f"output = {os.fspath(output)!r}: is the same as run_folder; give one of them")
        given["run_folder"] = Path(output)
    folder = None if resume is None or resume == "auto" else Path(resume.path if isinstance(resume, Run) else resume)
    if folder is not None and "run_folder" in given:
        raise UserError(
            f"output = {str(given['run_folder'])!r}: cannot be combined with resume, which names the folder"
        )
    if resume_anyway and resume is None:
        raise UserError("resume_anyway = True: names no run; add resume=")
    words = list_words(config=config, plugin=plugin)
    callbacks = Callbacks(on_step, on_epoch, on_checkpoint)
    held = getattr(resume, "data", None)
    if data is None and not isinstance(held, str | os.PathLike):  # the config of the run names other data sets
        data = held
    with preserve_process(), open_data(data, given, splits=folder is None) as layer:
        if folder is None:
            experiment = compose(words, layer if config else _add_image_size(layer))
        else:
            experiment = compose_resumed(folder, words, layer, anyway=resume_anyway)
        trained = pretrain(
            _record_plugins(experiment),
            "auto" if resume == "auto" else folder,
            anyway=resume_anyway,
            callbacks=callbacks,
            quiet=not progress,
            kill=False,
        )
    return Run(trained.path, data=data)


def _add_image_size(layer: Layer) -> Layer:
    """Set `img_size` to the size of small images in memory, unless it is given."""
    if layer.get("dataset", {}).get("name") != MEMORY or "img_size" in layer:
        return layer
    return {**layer, "img_size": choose_image_size(layer["dataset"])}


def _record_plugins(experiment: Experiment) -> Experiment:
    """Record the modules of parts that the caller has imported, so that other processes find them."""
    if experiment.plugin:
        return experiment
    return experiment.model_copy(update={"plugin": tuple(find_plugins(experiment.model_dump()))})
