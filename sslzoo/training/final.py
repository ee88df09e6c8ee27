"""Output files of a finished run: weights, scores, summary and plots."""

from typing import Any

from rich.console import Console
from torch import nn

from sslzoo.data.load import Data
from sslzoo.evaluation.score import Scores
from sslzoo.evaluation.summary import create_summary_table
from sslzoo.experiment.input_config import describe_input
from sslzoo.experiment.schema import Experiment
from sslzoo.health.verdict import HEALTHY
from sslzoo.modules.adapters import merge_adapters
from sslzoo.modules.backbones import model_arguments, resolve_name
from sslzoo.runtime.files import write_json
from sslzoo.runtime.progress import print_note, print_warning, show_stage
from sslzoo.training.early_stop import EarlyStop
from sslzoo.training.evaluator import EncoderScores, Evaluator, Features
from sslzoo.training.folder import RunFolder
from sslzoo.training.next_commands import describe_next_commands
from sslzoo.weights.export import export_backbone

MAX_RAW_SIZE = 32
"""Maximum image size at which raw pixels are scored."""


def finalize_run(
    experiment: Experiment,
    data: Data,
    evaluator: Evaluator,
    backbone: nn.Module,
    untrained: nn.Module,
    folder: RunFolder,
    console: Console,
    record: dict[str, Any],
) -> dict[str, Any]:
    """Export the backbone, score it and two baselines, and write summary and plots.

    Called by all processes; the main process writes.

    Args:
        untrained: the same backbone before training.
        record: further entries of the summary.

    Returns:
        The summary.
    """
    if experiment.backbone.lora:
        backbone = merge_adapters(backbone)
    export_weights(experiment, backbone, folder, console, write=evaluator.accelerator.is_main_process)
    encoders = score_encoders(experiment, evaluator, backbone, untrained)
    results = {name: encoder.scores for name, encoder in encoders.items() if encoder.scores is not None}
    summary = record | {
        "dataset": experiment.dataset.name,
        "backbone": resolve_name(experiment.backbone, experiment.img_size),
        "seed": experiment.seed,
        "protocol": describe_protocol(experiment, data, results.get("trained"), record),
        "held_out_test": None if data.held_out is None else data.held_out.as_dict(),
        "test": {name: scores.as_dict() for name, scores in results.items()},
    }
    if evaluator.accelerator.is_main_process:
        draw_plots(experiment, summary, data, encoders["trained"].test_features if encoders else None, folder, console)
        summary["sha256"] = folder.hash_outputs()
        write_json(folder.summary, summary)
        print_results(console, summary, results, data, folder)
    return summary


def export_weights(
    experiment: Experiment, backbone: nn.Module, folder: RunFolder, console: Console, *, write: bool
) -> None:
    """Write the backbone's weights, on the main process, and print the line of code that loads them."""
    name = resolve_name(experiment.backbone, experiment.img_size)
    arguments = model_arguments(experiment.backbone, in_chans=experiment.dataset.channels, img_size=experiment.img_size)
    if write:
        export_backbone(
            backbone, folder.backbone, name=name, arguments=arguments, input_config=describe_input(experiment)
        )
    keywords = "".join(f", {key}={value!r}" for key, value in arguments.items())
    imports = "sslzoo.modules.backbones, timm" if name != experiment.backbone.name else "timm"
    line = f"import {imports}; timm.create_model({name!r}, checkpoint_path={str(folder.backbone)!r}{keywords})"
    print_note(console, f"\nthe trained backbone: {line}")


def score_encoders(
    experiment: Experiment, evaluator: Evaluator, backbone: nn.Module, untrained: nn.Module
) -> dict[str, EncoderScores]:
    """Score the trained backbone, the backbone before training and raw pixels; empty without labeled images."""
    if not evaluator.can_score:
        return {}
    size = min(MAX_RAW_SIZE, experiment.img_size)
    initial = "before training" if experiment.backbone.has_weights else "untrained"
    encoders: list[tuple[str, nn.Module, int | None]] = [
        ("trained", backbone, None),
        (initial, untrained, None),
        (f"raw pixels ({size} px)", nn.Flatten(), size),
    ]
    return {name: evaluator.score_encoder(encoder, name, size=size) for name, encoder, size in encoders}


def draw_plots(
    experiment: Experiment,
    summary: dict[str, Any],
    data: Data,
    test_features: Features | None,
    folder: RunFolder,
    console: Console,
) -> None:
    """Draw the training curves and, if there are test features, their t-SNE."""
    from sslzoo.report import plots  # matplotlib takes a second to import

    epochs = format_count(summary["epochs"], "epoch")
    title = f"{summary['method']} on {summary['dataset']}, {summary['backbone']}, {epochs}"
    with show_stage(console, "drawing the curves") as update:
        plots.draw_curves(list(folder.read_metrics()), folder.path / "curves", title=title)
        if test_features is not None:
            update(f"drawing the t-SNE of {min(len(test_features[0]), plots.MAX_POINTS):,} test images")
            features, labels = (tensor.numpy() for tensor in test_features)
            plots.draw_tsne(features, labels, data.classes, folder.path / "tsne", title=title, seed=experiment.seed)


def print_results(
    console: Console, summary: dict[str, Any], results: dict[str, Scores], data: Data, folder: RunFolder
) -> None:
    """Print the test accuracy, how it was measured, and where the files are."""
    console.print()
    if results:
        console.print(create_summary_table(results, "Test accuracy"))
    print_note(console, f"({summary['protocol']})")
    show_health(console, summary["health"])
    if "neighbors" in summary:
        print_note(console, describe_neighbors(summary["neighbors"]))
    if data.skipped.messages:
        print_warning(console, data.skipped.describe())
    print_note(console, f"summary and images: {folder.path}")
    print_note(console, describe_next_commands(folder.path))


def show_health(console: Console, health: dict[str, Any]) -> None:
    """Print the last verdict on the health of the training, as a warning unless it is healthy."""
    show = print_note if health["verdict"] == HEALTHY.kind else print_warning
    show(console, f"health at the end of training: {health['description']}")


def describe_protocol(experiment: Experiment, data: Data, scores: Scores | None, record: dict[str, Any]) -> str:
    """Describe how the scores were measured, or why there are none.

    Args:
        record: entries of the summary about the training.
    """
    if scores is None:
        missing = "to learn from (--dataset.labeled)" if data.labeled is None else "to test on (--dataset.test)"
        return f"not scored: there are no labeled images {missing}"
    config = experiment.evaluation
    assert data.labeled is not None
    assert data.test is not None
    if config.labels_per_class is None:
        labels = f"all {scores.labels:,} labels"
    else:
        per_class = format_count(config.labels_per_class, "label")
        labels = f"{per_class} of each class, mean ± standard deviation of {scores.draws} draws"
    stop = f" ({EarlyStop(**record['early_stop']).describe()})" if record["early_stop"] else ""
    return (
        f"frozen backbone of the last epoch, {format_count(record['epochs'], 'epoch')}{stop}, "
        f"{experiment.method.directions} loss; {labels}; "
        f"settings chosen on {100 * config.holdout:.0f} % of train that is held out; "
        f"{len(data.test):,} test images{f' ({data.held_out.describe()})' if data.held_out else ''}, used once"
    )


def describe_neighbors(mass: dict[str, float]) -> str:
    """Describe how the target distributes its weight, in one sentence."""
    extra = "" if mass["extra_mass"] is None else f"{mass['extra_mass']:.2f} times the positive's, "
    return (
        f"the target's weight on neighbors: {extra}{100 * mass['same_class']:.1f} % of it on images of the same "
        f"class (chance {100 * mass['chance']:.1f} %)"
    )


def format_count(count: int, noun: str) -> str:
    """Format a count: `1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
