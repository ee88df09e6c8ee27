"""What a run leaves behind: weights, scores, summary and images."""

from typing import Any

from rich.console import Console
from torch import nn

from sslzoo.data.load import Data
from sslzoo.evaluate.score import Scores
from sslzoo.evaluate.summary import summary_table
from sslzoo.experiment.schema import Experiment
from sslzoo.modules.backbones import model_arguments, resolve_name
from sslzoo.runtime.files import write_json
from sslzoo.runtime.progress import print_warning, show_stage
from sslzoo.train.evaluator import EncoderScores, Evaluator
from sslzoo.train.folder import RunFolder
from sslzoo.weights.export import export_backbone

RAW_PIXELS = 32
"""Largest side at which raw pixels are scored."""


def finalize_run(
    experiment: Experiment,
    data: Data,
    evaluator: Evaluator,
    backbone: nn.Module,
    untrained: nn.Module,
    folder: RunFolder,
    console: Console,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Export the backbone, score it beside both baselines, and write summary and images.

    Called by all processes; the main one writes.

    Args:
        untrained: the same backbone before training.
        facts: further entries of the summary.

    Returns:
        The summary.
    """
    export(experiment, backbone, folder, console)
    pixels = min(RAW_PIXELS, experiment.img_size)
    start = "before training" if experiment.backbone.has_weights else "untrained"
    encoders = (
        ("trained", backbone, None),
        (start, untrained, None),
        (f"raw pixels ({pixels} px)", nn.Flatten(), pixels),
    )
    scored: dict[str, EncoderScores] = {}
    for name, encoder, size in encoders if evaluator.can_score else ():
        scored[name] = evaluator.score_encoder(encoder, name, size=size)
    test_features = scored["trained"].test if scored else None
    results = {name: answer.scores for name, answer in scored.items() if answer.scores is not None}
    summary = facts | {
        "dataset": experiment.dataset.name,
        "backbone": resolve_name(experiment.backbone, experiment.img_size),
        "epochs": experiment.epochs,
        "seed": experiment.seed,
        "protocol": protocol(experiment, data, results.get("trained")),
        "test": {name: scores.as_dict() for name, scores in results.items()},
    }
    if not evaluator.accelerator.is_main_process:
        return summary
    from sslzoo.report import plots  # imports matplotlib, which takes a second

    write_json(folder.summary, summary)
    epochs = format_count(experiment.epochs, "epoch")
    title = f"{summary['method']} on {summary['dataset']}, {summary['backbone']}, {epochs}"
    records = list(folder.records())
    with show_stage(console, "drawing the curves") as say:
        plots.curves(records, folder.path / "curves", title=title)
        if test_features is not None:
            say(f"drawing the t-SNE of {min(len(test_features[0]), plots.MOST_POINTS):,} test images")
            features, labels = (part.numpy() for part in test_features)
            plots.tsne(features, labels, data.classes, folder.path / "tsne", title=title, seed=experiment.seed)
    console.print()
    if results:
        console.print(summary_table(results, "Test accuracy"))
    console.print(f"({summary['protocol']})", highlight=False, markup=False, soft_wrap=True)
    if "neighbors" in facts:
        console.print(describe_neighbors(facts["neighbors"]), highlight=False, markup=False, soft_wrap=True)
    if data.skipped.messages:
        print_warning(console, data.skipped.describe())
    console.print(f"summary and images: {folder.path}", highlight=False, markup=False, soft_wrap=True)
    return summary


def export(experiment: Experiment, backbone: nn.Module, folder: RunFolder, console: Console) -> None:
    """The backbone's weights, and the line that loads them."""
    name = resolve_name(experiment.backbone, experiment.img_size)
    arguments = model_arguments(experiment.backbone, in_chans=experiment.dataset.channels, img_size=experiment.img_size)
    if not console.quiet:
        export_backbone(backbone, folder.backbone, name=name, arguments=arguments)
    shown = "".join(f", {key}={value!r}" for key, value in arguments.items())
    own = "import sslzoo.modules.backbones, timm; " if name != experiment.backbone.name else "import timm; "
    line = f"{own}timm.create_model({name!r}, checkpoint_path={str(folder.backbone)!r}{shown})"
    console.print(f"\nthe trained backbone: {line}", highlight=False, markup=False, soft_wrap=True)


def protocol(experiment: Experiment, data: Data, scores: Scores | None) -> str:
    """How the numbers came about, in a sentence, or why there are none."""
    if scores is None:
        missing = "to learn from (--dataset.labeled)" if data.labeled is None else "to test on (--dataset.test)"
        return f"not scored: there are no labeled images {missing}"
    config = experiment.evaluation
    assert data.labeled is not None
    assert data.test is not None
    if config.labels_per_class is None:
        labels = f"all {scores.labels:,} labels"
    else:
        drawn = format_count(config.labels_per_class, "label")
        labels = f"{drawn} of each class, mean ± standard deviation of {scores.draws} draws"
    return (
        f"frozen backbone of the last epoch, {format_count(experiment.epochs, 'epoch')}, "
        f"{experiment.method.directions} loss; {labels}; "
        f"settings chosen on {100 * config.holdout:.0f} % of train that is held out; "
        f"{len(data.test):,} test images, used once"
    )


def describe_neighbors(mass: dict[str, float]) -> str:
    """Where the target put its weight, in a sentence."""
    beside = "" if mass["extra_mass"] is None else f"{mass['extra_mass']:.2f} times the positive's, "
    return (
        f"the target's weight on neighbors: {beside}{100 * mass['same_class']:.1f} % of it on images of the same "
        f"class (chance {100 * mass['chance']:.1f} %)"
    )


def format_count(count: int, thing: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
