"""Run an evaluation: encoder, features, protocols, measures of the representation, and the result folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from sslzoo.data.load import load_data
from sslzoo.evaluation.augmented import AugmentedProbe
from sslzoo.evaluation.classifier import Classifier
from sslzoo.evaluation.crops import choose_crops
from sslzoo.evaluation.encoder import create_encoder, load_features
from sslzoo.evaluation.evaluated import EvaluatedEncoder
from sslzoo.evaluation.fine_tune import FineTuning
from sslzoo.evaluation.folder import ResultFolder
from sslzoo.evaluation.images import (
    describe_held_out,
    get_labels,
    has_all_labels,
    select_images_without_labels,
    select_labeled_images,
)
from sslzoo.evaluation.job import EvaluationJob
from sslzoo.evaluation.labels import check_labels
from sslzoo.evaluation.projector import add_projector
from sslzoo.evaluation.protocol import create_feature_classifiers, score_classifiers
from sslzoo.evaluation.quality import Quality, measure_quality
from sslzoo.evaluation.results import describe_inputs, describe_protocol, print_header, print_results
from sslzoo.evaluation.score import Scores
from sslzoo.evaluation.transform import choose_transform
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import (
    accelerator_precision,
    create_accelerator,
    describe_device,
    prepare_cpu,
    run_on_main_process,
)
from sslzoo.runtime.progress import print_warning

NEIGHBORS = (1, 10, 100)
"""Numbers of neighbors at which purity is measured, as far as each class has more images."""


def evaluate(jobs: list[tuple[str, EvaluationJob]], *, quiet: bool = False) -> tuple[dict[str, Any], Path]:
    """Score one encoder by several protocols in order, then measure its representation if one of them asks for it.

    Each result is written as soon as it is available.

    Args:
        jobs: name and settings of each protocol; the settings differ only in `evaluation` and `quality`.
        quiet: print nothing.

    Returns:
        The content of result.json, and the folder that contains it.

    Raises:
        UserError: a setting, the data or the weights are invalid.
    """
    job = jobs[0][1]
    prepare_cpu(job.threads)
    accelerator = create_accelerator(job.precision)
    device = describe_device(accelerator, job.precision)
    precision = accelerator_precision(accelerator)
    console = Console(quiet=quiet or not accelerator.is_main_process)
    data = load_data(job.dataset)
    values = {"precision": precision, "dataset": data.config}
    jobs = [(name, each.model_copy(update=values)) for name, each in jobs]
    job = jobs[0][1]
    protocols = [(name, each) for name, each in jobs if each.evaluation.classifiers]
    with_quality = any(each.quality for _, each in jobs)
    if not protocols and not with_quality:
        raise UserError("evaluation.classifiers = []: leaves nothing to do; --quality measures the representation")
    train, test = select_labeled_images(data, job) if protocols else select_images_without_labels(data)
    for _, each in protocols:
        check_labels(get_labels(train), get_labels(test), each.evaluation, data.classes)
    transform = replace(choose_transform(job), crops=choose_crops(job))
    encoder, weights = create_encoder(job, transform)
    if job.projector_layers:
        encoder = add_projector(encoder, job.run, job.projector_layers)
        weights += f"; layers of the projector: {job.projector_layers}"
    encoder.to(accelerator.device)
    folder = ResultFolder(run_on_main_process(accelerator, lambda: ResultFolder.create(jobs).path))
    result = describe_inputs(job, train, test, weights, transform, accelerator.num_processes)
    result["skipped"] = data.skipped.messages
    result["held_out_test"] = describe_held_out(job, data)
    warmup = next((each.warmup_note for _, each in jobs if each.warmup_note), None)
    print_header(console, result, device, folder.path, warmup)
    if data.skipped.messages:
        print_warning(console, data.skipped.describe())
    evaluated = load_features(job, encoder, transform, train, test, accelerator, console)
    scores = run_protocols(protocols, evaluated, folder, result)
    quality = run_quality(job, evaluated, folder, result) if with_quality else None
    evaluated.checkpoints.delete_opened()
    print_results(console, scores, quality, result, folder.path)
    accelerator.end_training()
    return result, folder.path


def run_protocols(
    protocols: list[tuple[str, EvaluationJob]],
    evaluated: EvaluatedEncoder,
    folder: ResultFolder,
    result: dict[str, Any],
) -> dict[str, Scores]:
    """Score the encoder by each protocol, and add the scores to `result` and its folder; called by all processes."""
    results: dict[str, Scores] = {}
    for name, job in protocols:
        scores = score_protocol(evaluated, job)
        results[name] = scores
        result.setdefault("protocols", {})[name] = {
            "how": describe_protocol(job, scores, len(evaluated.test), result["held_out_test"]),
            **scores.as_dict(),
        }
        if evaluated.accelerator.is_main_process:
            folder.write_protocol(name, job, scores, evaluated.train)
            folder.write_result(result)
    return results


def score_protocol(evaluated: EvaluatedEncoder, job: EvaluationJob) -> Scores:
    """Choose the settings of a protocol's classifiers and test them; called by all processes."""
    device, config = evaluated.accelerator.device, job.evaluation
    train_labels, test_labels = get_labels(evaluated.train), get_labels(evaluated.test)
    on_features = create_feature_classifiers(
        evaluated.train_features.to(device),
        train_labels.to(device),
        evaluated.test_features.to(device),
        evaluated.classes,
        config,
    )
    classifiers: dict[str, Classifier] = {}
    for name in config.classifiers:
        if name in on_features:
            classifiers[name] = on_features[name]
        elif name == "augmented":
            classifiers[name] = AugmentedProbe(evaluated, config.augmented, config.seed)
        else:
            classifiers[name] = FineTuning(evaluated, config.fine_tune, config.seed)

    def report(what: str) -> None:
        evaluated.console.print(what, highlight=False)

    return score_classifiers(classifiers, train_labels, test_labels, evaluated.classes, config, report)


def run_quality(
    job: EvaluationJob, evaluated: EvaluatedEncoder, folder: ResultFolder, result: dict[str, Any]
) -> Quality:
    """Measure the representation, and add the measures to `result` and its folder; called by all processes."""
    quality = measure_encoder(evaluated, job)
    result["quality"] = quality.as_dict()
    if evaluated.accelerator.is_main_process:
        folder.write_result(result)
    return quality


def measure_encoder(evaluated: EvaluatedEncoder, job: EvaluationJob) -> Quality:
    """Measure the representation of the test images and of strong views of some of them."""
    evaluated.console.print(f"quality: {job.quality_views} views of up to {job.quality_images:,} test images")
    views = evaluated.encode_views(
        job.augmentation("strong"), images=job.quality_images, views=job.quality_views, seed=job.seed
    )
    device = evaluated.accelerator.device
    features, views = evaluated.test_features.to(device), views.to(device)
    if not has_all_labels(evaluated.test):
        return measure_quality(features, None, views, seed=job.seed)
    labels = get_labels(evaluated.test).to(device)
    smallest = int(labels.bincount().min())
    ks = [k for k in NEIGHBORS if k < smallest]  # an image of this class has fewer neighbors of its class
    return measure_quality(features, labels, views, ks=ks, seed=job.seed)
