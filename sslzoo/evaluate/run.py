"""An evaluation from beginning to end: encoder, features, protocols, and the folder of results."""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console
from torch import Tensor, nn

from sslzoo.data.cache import cache_root
from sslzoo.data.images import Images
from sslzoo.data.load import Data, load_data
from sslzoo.evaluate.augmented import AugmentedProbe
from sslzoo.evaluate.classifier import Classifier
from sslzoo.evaluate.fine_tune import FineTuning
from sslzoo.evaluate.job import Job
from sslzoo.evaluate.labels import check_labels
from sslzoo.evaluate.protocol import feature_classifiers, score_classifiers
from sslzoo.evaluate.quality import Quality, measure
from sslzoo.evaluate.results import ResultFolder, describe_protocol, facts, quality_table, results_table
from sslzoo.evaluate.score import Scores
from sslzoo.evaluate.store import FeatureStore
from sslzoo.evaluate.subject import Subject
from sslzoo.evaluate.transform import Transform, transform_of_weights
from sslzoo.evaluate.unfinished import Unfinished
from sslzoo.modules.backbones import create_backbone, model_arguments, resolve_name
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import (
    accelerator_precision,
    claim_cores,
    create_accelerator,
    describe_device,
    run_on_main_process,
)
from sslzoo.runtime.progress import Steps, print_field, print_warning


def evaluate(jobs: list[tuple[str, Job]]) -> dict[str, Any]:
    """Score one encoder by several protocols in order, then measure its representation if one of them asks for it.

    Each result is written as soon as it is known.

    Args:
        jobs: names of protocols, with settings that differ in nothing but `evaluation` and `quality`.

    Returns:
        The result, as result.json has it.

    Raises:
        UserError: a setting, the data or the weights are not right.
    """
    job = jobs[0][1]
    claim_cores(job.threads)
    accelerator = create_accelerator(job.precision)
    setting, precision = job.precision, accelerator_precision(accelerator)
    jobs = [(name, each.model_copy(update={"precision": precision})) for name, each in jobs]
    job = jobs[0][1]
    console = Console(quiet=not accelerator.is_main_process)
    data = load_data(job.dataset)
    with_labels = [(name, each) for name, each in jobs if each.evaluation.classifiers]
    measured = any(each.quality for _, each in jobs)
    if not with_labels and not measured:
        raise UserError("evaluation.classifiers = []: leaves nothing to do; --quality measures the representation")
    train, test = labeled_images(data, job) if with_labels else measured_images(data)
    for _, each in with_labels:
        check_labels(labels_of(train), labels_of(test), each.evaluation, data.classes)
    transform = transform_of(job)
    encoder, weights = create_encoder(job, transform)
    encoder.to(accelerator.device)
    folder = ResultFolder(run_on_main_process(accelerator, lambda: ResultFolder.create(jobs).path))
    result = facts(job, train, test, weights, transform, accelerator.num_processes)
    result["skipped"] = data.skipped.messages
    print_header(console, result, describe_device(accelerator, setting), folder)
    if data.skipped.messages:
        print_warning(console, data.skipped.describe())
    subject = subject_of(job, encoder, transform, train, test, accelerator, console)
    results: dict[str, Scores] = {}
    for name, each in with_labels:
        scores = score(subject, each)
        results[name] = scores
        result.setdefault("protocols", {})[name] = {
            "how": describe_protocol(each, scores, len(test)),
            **scores.as_dict(),
        }
        if accelerator.is_main_process:
            folder.write_protocol(name, each, scores, subject)
            folder.write(result)
    if measured:
        quality = quality_of(subject, job)
        result["quality"] = quality.as_dict()
        if accelerator.is_main_process:
            folder.write(result)
    subject.unfinished.forget()
    console.print()
    if results:
        console.print(results_table(results))
    for name in results:
        console.print(f"({name}: {result['protocols'][name]['how']})", highlight=False, markup=False, soft_wrap=True)
    if results and measured:
        console.print()
    if measured:
        console.print(quality_table(quality))
    console.print(f"result and images: {folder.path}", highlight=False, markup=False, soft_wrap=True)
    accelerator.end_training()
    return result


def labeled_images(data: Data, job: Job) -> tuple[Images, Images]:
    """The labeled images to learn from and those to test on.

    Raises:
        UserError: there are none.
    """
    where = job.dataset.path or job.dataset.source
    if data.labeled is None:
        ignored = "; --dataset.unlabeled false reads class folders" if job.dataset.unlabeled else ""
        raise UserError(
            f"evaluate: {where} ({job.dataset.labeled or job.dataset.train}) has no labels, which this protocol needs"
            f"{ignored}; --dataset.label names the column; --protocol representation needs none"
        )
    if data.test is None:
        raise UserError(f"--dataset.test None: {where} needs a split to test on")
    if data.test.labels is None or (data.test.labels < 0).any():
        raise UserError(f"--dataset.test {job.dataset.test}: images without labels cannot be tested on")
    return data.labeled, data.test


def measured_images(data: Data) -> tuple[Images, Images]:
    """The images that the representation is measured on, twice: those of the test split, or else of train.

    Raises:
        UserError: train is a stream, and there is no test split.
    """
    images = data.train if data.test is None else data.test
    if not isinstance(images, Images):
        raise UserError("--dataset.streaming true: a stream cannot be measured; name a split by --dataset.test")
    return images, images


def labels_of(images: Images) -> Tensor:
    """(N,) int64."""
    assert images.labels is not None
    return torch.from_numpy(images.labels)


def transform_of(job: Job) -> Transform:
    """What is done to images, as `transform` and `img_size` ask.

    Raises:
        UserError: timm's weights need a transform that `Augmentation` does not have, or other channels.
    """
    if job.transform == "weights" or (job.transform == "auto" and job.backbone.pretrained):
        return transform_of_weights(job.backbone, job.dataset.channels, job.img_size)
    augmentation = job.augmentation("test")
    size = job.img_size or augmentation.size
    if size is None:
        raise UserError(f"--img-size: {job.dataset.name} has no default size; give the side in pixels")
    origin = "of the run" if job.run is not None else "of the data set's config"
    return Transform(augmentation.model_copy(update={"size": size}), job.dataset.mean, job.dataset.std, origin)


def create_encoder(job: Job, transform: Transform) -> tuple[nn.Module, str]:
    """The backbone without classifier, and where its weights are from.

    Raises:
        UserError: no such model, or weights that do not fit or cannot be had.
    """
    size = transform.augmentation.size
    assert size is not None
    set_seed(job.seed)
    report: list[str] = []
    encoder = create_backbone(job.backbone, in_chans=job.dataset.channels, img_size=size, report=report.append)
    if report:
        return encoder, report[0]
    if not job.backbone.pretrained:
        return encoder, f"random, seed {job.seed}"
    cfg: dict[str, Any] = getattr(encoder, "pretrained_cfg", {})
    if ":" in job.backbone.name:
        return encoder, f"{job.backbone.name}, a {cfg.get('architecture')}"
    tag = f"{cfg.get('architecture')}.{cfg['tag']}" if cfg.get("tag") else str(cfg.get("architecture"))
    license = f", license {cfg['license']}" if cfg.get("license") else ""
    return encoder, f"timm's {tag}{license}"


def print_header(console: Console, result: dict[str, Any], device: str, folder: ResultFolder) -> None:
    """Say what is about to be done."""
    lines = {
        "encoder": result["backbone"],
        "weights": result["weights"],
        "images": result["transform"],
        "data": f"{result['dataset']}, {result['train_images']:,} images to learn from, "
        f"{result['test_images']:,} to test on, {result['classes']} classes",
        "device": device,
        "result": str(folder.path),
    }
    for label, text in lines.items():
        print_field(console, label, text)


def subject_of(
    job: Job,
    encoder: nn.Module,
    transform: Transform,
    train: Images,
    test: Images,
    accelerator: Accelerator,
    console: Console,
) -> Subject:
    """The encoder with its features of both splits, which are read where they are kept already."""
    store = feature_store(job, encoder, transform, accelerator)
    features = []
    for split, images in (("train", train), ("test", test)) if train is not test else (("images", test),) * 2:
        known = store.file(images, transform).is_file()
        console.print(f"features of {split}: {'kept from before' if known else 'extracting'}", highlight=False)
        steps = Steps(console, f"features of {split}", len(images))
        features.append(store.features(images, transform, steps))
    return Subject(
        encoder=encoder,
        transform=transform,
        probe=job.augmentation("probe").model_copy(update={"interpolation": transform.augmentation.interpolation}),
        train=train,
        test=test,
        train_features=features[0],
        test_features=features[1],
        accelerator=accelerator,
        console=console,
        batch_size=job.batch_size,
        workers=job.dataset.workers,
        unfinished=Unfinished(store.root / "unfinished", store.file(train, transform).stem, accelerator),
    )


def feature_store(job: Job, encoder: nn.Module, transform: Transform, accelerator: Accelerator) -> FeatureStore:
    """Where the encoder's features are kept."""
    size = transform.augmentation.size
    assert size is not None
    arguments = model_arguments(job.backbone, in_chans=job.dataset.channels, img_size=size)
    return FeatureStore(
        cache_root(job.dataset) / "features",
        encoder,
        {"model": resolve_name(job.backbone, size), "arguments": arguments, "precision": job.precision},
        accelerator,
        batch_size=job.batch_size,
        workers=job.dataset.workers,
    )


def quality_of(subject: Subject, job: Job) -> Quality:
    """The measures of the representation on test images and on strong views of some of them."""
    subject.console.print(f"quality: {job.quality_views} views of {job.quality_images:,} test images at most")
    views = subject.encode_views(
        job.augmentation("strong"), images=job.quality_images, views=job.quality_views, seed=job.seed
    )
    device = subject.accelerator.device
    features, views = subject.test_features.to(device), views.to(device)
    if subject.test.labels is None or (subject.test.labels < 0).any():
        return measure(features, None, views, seed=job.seed)
    labels = labels_of(subject.test).to(device)
    smallest = int(labels.bincount().min())
    ks = [k for k in (1, 10, 100) if k < smallest]  # more of its class an image cannot have around it
    return measure(features, labels, views, ks=ks, seed=job.seed)


def score(subject: Subject, job: Job) -> Scores:
    """One protocol's classifiers, chosen and tested; called by all processes."""
    device, config = subject.accelerator.device, job.evaluation
    train_labels, test_labels = labels_of(subject.train), labels_of(subject.test)
    on_features = feature_classifiers(
        subject.train_features.to(device),
        train_labels.to(device),
        subject.test_features.to(device),
        subject.classes,
        config,
    )
    classifiers: dict[str, Classifier] = {}
    for name in config.classifiers:
        if name in on_features:
            classifiers[name] = on_features[name]
        elif name == "augmented":
            classifiers[name] = AugmentedProbe(subject, config.augmented, config.seed)
        else:
            classifiers[name] = FineTuning(subject, config.fine_tune, config.seed)

    def say(what: str) -> None:
        subject.console.print(what, highlight=False)

    return score_classifiers(classifiers, train_labels, test_labels, subject.classes, config, say)
