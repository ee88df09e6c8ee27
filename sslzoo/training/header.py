"""Header that a run prints before training."""

from accelerate import Accelerator
from rich.console import Console

from sslzoo.data.load import Data
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method
from sslzoo.modules.backbone_config import BackboneConfig
from sslzoo.modules.backbones import resolve_name
from sslzoo.runtime.launch import describe_device
from sslzoo.runtime.precision import PrecisionSetting
from sslzoo.runtime.progress import print_field, print_warning
from sslzoo.training.folder import RunFolder


def print_header(
    console: Console,
    experiment: Experiment,
    data: Data,
    method: Method,
    accelerator: Accelerator,
    folder: RunFolder,
    step: int,
    requested_precision: PrecisionSetting,
) -> None:
    """Print the settings of a run, including derived values such as the scaled learning rate.

    Args:
        step: step that the run resumes at; 0 for a new run.
        requested_precision: value of `precision` before `auto` was resolved.
    """
    parameters = [*method.student.backbone.parameters()]
    millions = sum(parameter.numel() for parameter in parameters) / 1e6
    frozen = sum(parameter.numel() for parameter in parameters if not parameter.requires_grad) / 1e6
    count = f"{millions:.2f} M parameters" + (f", {frozen:.2f} M of them frozen" if frozen else "")
    images = [f"{len(data.train):,} images to train on"]
    images += [f"{len(data.labeled):,} labeled"] if data.labeled is not None else ["no labels"]
    if data.test is not None:
        images.append(f"{len(data.test):,} to test on{f' ({data.held_out.describe()})' if data.held_out else ''}")
    optimizer = experiment.optimizer
    lr = f"lr {optimizer.scale_learning_rate(experiment.batch_size):g}"
    if optimizer.lr_batch is not None:
        lr += f" (scaled from {optimizer.lr:g} at batch {optimizer.lr_batch} to {experiment.batch_size})"
    if optimizer.layer_decay < 1:
        lr += f" (times {optimizer.layer_decay:g} for each earlier block)"
    lr += "".join(f", times {factor:g} for {pattern}" for pattern, factor in optimizer.lr_scale.items())
    decayed = "all parameters" if optimizer.decay_all else "all but biases and norms"
    target = f", target {experiment.target.name}" if experiment.target else ""
    lines = {
        "method": f"{experiment.method.name}{target}, views {' + '.join(experiment.method.views)}, "
        f"{experiment.method.directions}",
        "backbone": f"{resolve_name(experiment.backbone, experiment.img_size)}, {count}, "
        f"{experiment.img_size} px, {describe_weights(experiment.backbone)}",
        "data": f"{experiment.dataset.name}, {', '.join(images)}",
        "optimizer": f"{optimizer.name}, {lr}, weight decay {optimizer.weight_decay:g} on {decayed}, "
        f"batch {experiment.batch_size}",
        **({} if experiment.warmup_note is None else {"warm-up": experiment.warmup_note}),
        "device": describe_device(accelerator, requested_precision),
        "run": f"{folder.path}" + (f", resumed at step {step}" if step else ""),
    }
    for label, text in lines.items():
        print_field(console, label, text)
    if data.skipped.messages:
        print_warning(console, data.skipped.describe())
    queue = getattr(experiment.method, "queue_size", 0)
    if queue > len(data.train):
        print_warning(
            console,
            f"method.queue_size = {queue}: the queue is larger than the data set, so older keys of an image are among "
            "its own negatives",
        )


def describe_weights(backbone: BackboneConfig) -> str:
    """Describe the weights that training starts from."""
    if backbone.checkpoint is not None:
        return f"weights of {backbone.checkpoint}"
    return "timm's pretrained weights" if backbone.pretrained else "random weights"
