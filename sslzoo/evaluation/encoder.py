"""Create the encoder of an evaluation and extract its features."""

from functools import partial
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console
from torch import nn

from sslzoo.data.cache import cache_root
from sslzoo.data.images import Images
from sslzoo.evaluation.checkpoint import ClassifierCheckpoints
from sslzoo.evaluation.evaluated import EvaluatedEncoder
from sslzoo.evaluation.job import EncoderJob, EvaluationJob
from sslzoo.evaluation.store import FeatureStore
from sslzoo.evaluation.transform import Transform
from sslzoo.modules.backbones import create_backbone, model_arguments, resolve_name
from sslzoo.runtime.progress import Steps


def create_encoder(job: EncoderJob, transform: Transform) -> tuple[nn.Module, str]:
    """Create the backbone without classifier; return it and a description of its weights.

    Raises:
        UserError: the model does not exist, or the weights do not fit or cannot be loaded.
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


def create_feature_store(
    job: EncoderJob, encoder: nn.Module, transform: Transform, accelerator: Accelerator
) -> FeatureStore:
    """Create the store of the encoder's features in the cache folder."""
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


def load_features(
    job: EvaluationJob,
    encoder: nn.Module,
    transform: Transform,
    train: Images,
    test: Images,
    accelerator: Accelerator,
    console: Console,
) -> EvaluatedEncoder:
    """Load the features of both splits from the cache, or extract them; called by all processes."""
    store = create_feature_store(job, encoder, transform, accelerator)
    splits = (("train", train), ("test", test)) if train is not test else (("images", test),) * 2
    features = []
    for split, images in splits:
        name = f"features of {split}"
        report = partial(_print_state, console, name)
        features.append(store.load_features(images, transform, Steps(console, name, len(images)), report))
    return EvaluatedEncoder(
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
        checkpoints=ClassifierCheckpoints(store.root / "unfinished", store.locate(train, transform).stem, accelerator),
    )


def _print_state(console: Console, name: str, state: str) -> None:
    console.print(f"{name}: {state}", highlight=False)
