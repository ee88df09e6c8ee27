"""Describe an evaluation and print its results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sslzoo.data.images import Images
from sslzoo.evaluation.job import STANDARD, EvaluationJob
from sslzoo.evaluation.quality import Quality, create_quality_rows
from sslzoo.evaluation.score import Scores
from sslzoo.evaluation.summary import CLASSIFIERS, format_accuracy
from sslzoo.evaluation.transform import Transform
from sslzoo.modules.backbones import resolve_name
from sslzoo.runtime.environment import device_name
from sslzoo.runtime.progress import print_field, print_note

SHORT_NAMES = {"temperature": "t", "weight_decay": "decay", "c": "C"}
"""Names of classifier settings in tables."""


def describe_inputs(
    job: EvaluationJob, train: Images, test: Images, weights: str, transform: Transform, processes: int
) -> dict[str, Any]:
    """Return the entries of result.json that describe encoder, images and machine."""
    return {
        "backbone": resolve_name(job.backbone, job.img_size or 224),
        "weights": weights,
        "run": None if job.run is None else str(job.run),
        "dataset": job.dataset.name,
        "train_images": 0 if train is test else len(train),
        "test_images": len(test),
        "classes": len(test.classes),
        "transform": str(transform),
        "precision": job.precision,
        "device": device_name(),
        "processes": processes,
    }


def describe_protocol(job: EvaluationJob, scores: Scores, test_images: int, held_out: str | None) -> str:
    """Describe how the scores of a protocol were measured: labels, choice of settings, test images, interval.

    Args:
        held_out: how the test split was held out; None if the data set has one.
    """
    config = job.evaluation
    if config.labels_per_class is not None:
        labels = f"{config.labels_per_class} of each class"
    elif config.labels_share is not None:
        labels = f"{100 * config.labels_share:g} % of each class"
    else:
        labels = "all"
    over_draws = f", mean ± standard deviation of {scores.draws} draws" if scores.draws > 1 else ""
    tested = f"{test_images:,} test images{f' ({held_out})' if held_out else ''}"
    choosing = any(score.choice_accuracy is not None for score in scores.by_classifier.values())
    choice = (
        f"settings chosen on {100 * config.holdout:g} % of train that is held out, seed {config.seed}"
        if choosing
        else f"no setting chosen, seed {config.seed}"
    )
    return (
        f"labels: {labels}, {scores.labels:,}{over_draws}; {choice}; {tested}, used once; "
        "interval: 95 %, bootstrap over test images"
    )


def print_header(
    console: Console, result: Mapping[str, Any], device: str, folder: Path, warmup: str | None = None
) -> None:
    """Print encoder, images, device and result folder before the evaluation.

    Args:
        warmup: line about a shortened warm-up of fine-tuning.
    """
    held_out = f" ({result['held_out_test']})" if result["held_out_test"] else ""
    lines = {
        "encoder": result["backbone"],
        "weights": result["weights"],
        "images": result["transform"],
        "data": f"{result['dataset']}, {result['train_images']:,} images to learn from, "
        f"{result['test_images']:,} to test on{held_out}, {result['classes']} classes",
        **({} if warmup is None else {"warm-up": warmup}),
        "device": device,
        "result": str(folder),
    }
    for label, text in lines.items():
        print_field(console, label, text)


def print_results(
    console: Console, scores: Mapping[str, Scores], quality: Quality | None, result: Mapping[str, Any], folder: Path
) -> None:
    """Print the tables of accuracies and measures, how they were measured, and the result folder."""
    console.print()
    if scores:
        console.print(create_results_table(scores))
    for name in scores:
        print_note(console, f"({name}: {result['protocols'][name]['how']})")
    if scores and quality is not None:
        console.print()
    if quality is not None:
        console.print(create_quality_table(quality))
    print_note(console, f"result and images: {folder}")


def create_results_table(protocols: Mapping[str, Scores]) -> Table:
    """Create the table of test accuracies, with a row for each protocol and classifier."""
    table = Table(box=None, pad_edge=False, title="Test accuracy (%)", title_justify="left", title_style="bold")
    table.add_column("protocol")
    for column in ("top-1", "95 % interval", "top-5", "held out"):
        table.add_column(column, justify="right")
    table.add_column("settings")
    for name, scores in protocols.items():
        for classifier, score in scores.by_classifier.items():
            table.add_row(
                format_row_name(name, classifier, len(scores.by_classifier)),
                format_accuracy(score),
                " - ".join(f"{100 * end:.1f}" for end in score.interval),
                "" if score.top5 is None else f"{100 * score.top5:.1f}",
                "" if score.choice_accuracy is None else f"{100 * score.choice_accuracy:.1f}",
                ", ".join(f"{SHORT_NAMES.get(key, key)} {value:g}" for key, value in score.chosen.items()),
            )
    return table


def create_quality_table(quality: Quality) -> Table:
    """Create the table of measures of the representation."""
    table = Table(box=None, pad_edge=False, title="Representation", title_justify="left", title_style="bold")
    for column in ("measure", "value", "meaning"):
        table.add_column(column)
    for row in create_quality_rows(quality):
        table.add_row(row.name, row.value, row.meaning)
    return table


def format_row_name(protocol: str, classifier: str, classifiers: int) -> str:
    """Format the name of a row: the classifier, the protocol, or both if the protocol has several classifiers."""
    if protocol in (STANDARD, classifier):
        return CLASSIFIERS[classifier]
    return protocol if classifiers == 1 else f"{protocol}, {CLASSIFIERS[classifier]}"
