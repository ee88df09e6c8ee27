"""Settings in `configs/` that name a source have the values of that source."""

from typing import Any

import pytest

from sslzoo.experiment.compose import compose

CIFAR, IMAGENET = ("--dataset", "cifar10"), ("--dataset", "imagenet-1k")
RESNET_HEADS = {"method.projector.layers": 2, "method.projector.out_norm": "batch", "method.predictor.out_norm": "none"}
SYMMETRIC_AUGMENTATION = {
    "augmentations.strong.crop_scale": [0.08, 1.0],
    "augmentations.strong.brightness": 0.8,
    "augmentations.strong.contrast": 0.8,
    "augmentations.strong.saturation": 0.8,
    "augmentations.strong.hue": 0.2,
    "augmentations.strong.blur": 0.5,
    "augmentations.strong.grayscale": 0.2,
}
"""solo-learn, scripts/pretrain/cifar/augmentations/symmetric.yaml; htdt/self-supervised, README, ImageNet-100."""

CASES: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("moco-v3", CIFAR, RESNET_HEADS),  # solo-learn, solo/methods/mocov3.py, lines 50 to 73
    ("moco-v3", IMAGENET, RESNET_HEADS),  # facebookresearch/moco-v3, moco/builder.py, lines 99 to 109
    (
        "moco-v3",
        ("--config", "paper/moco-v3-vit-imagenet-1k"),  # moco/builder.py, lines 112 to 122, and main_moco.py, line 229
        {
            "method.projector.layers": 3,
            "method.predictor.out_norm": "batch",
            "optimizer.decay_all": True,
            "optimizer.weight_decay": 0.1,
        },
    ),
    ("vicreg", CIFAR, {"method.variance": 50.0, "method.covariance": 1.0}),  # solo-learn, solo/losses/vicreg.py
    ("vicreg", IMAGENET, {"method.variance": 25.0}),  # facebookresearch/vicreg, main_vicreg.py, line 207
    ("swav", CIFAR, {**SYMMETRIC_AUGMENTATION, "schedule.min_lr": 0.0, "optimizer.lr": 0.6}),
    ("deepcluster-v2", CIFAR, {**SYMMETRIC_AUGMENTATION, "schedule.min_lr": 6e-4, "schedule.warmup_epochs": 11}),
    ("dino", CIFAR, {"method.warmup_epochs": 0}),  # solo-learn, solo/methods/dino.py, line 221
    (
        "dino",
        IMAGENET,
        {"clip_grad_norm": 3.0, "clip_grad_scope": "parameter"},
    ),  # main_dino.py, line 87; utils.py, line 132
    (
        "moco",
        ("--config", "paper/moco-cifar10", "--method.symmetric", "true"),  # colab/moco_cifar10_demo.ipynb
        {
            "method.projector.layers": 1,
            "method.direction_reduction": "sum",
            "method.split_bn": 8,
            "method.queue_size": 4096,
            "augmentations.strong.crop_scale": [0.08, 1.0],
            "augmentations.strong.blur": 0.0,
            "batch_size": 512,
            "optimizer.lr": 0.06,
            "schedule.warmup_epochs": 0.0,
        },
    ),
    ("msf", IMAGENET, {"target.neighbors": 9, "method.queue_size": 128000}),  # UMBCvision/MSF, README
    (
        "w-mse",
        IMAGENET,
        {
            **SYMMETRIC_AUGMENTATION,
            "optimizer.name": "adam",
            "optimizer.lr": 2e-3,
            "optimizer.weight_decay": 1e-6,
            "batch_size": 512,
            "method.sub_batch": 256,
            "method.projector.hidden": 1024,
            "method.projector.out": 128,
        },
    ),
    ("w-mse", CIFAR, {"batch_size": 512, "optimizer.lr": 3e-3, "method.sub_batch": 128}),  # htdt, cfg.py and README
    (
        "debiased",
        CIFAR,
        {"method.projector.out_norm": "none", "method.projector.norm": "batch"},
    ),  # chingyaoc/DCL, model.py
    (
        "hcl",
        CIFAR,
        {"method.projector.out_norm": "none", "method.projector.norm": "batch"},
    ),  # joshr17/HCL, image/model.py
    ("nnclr", CIFAR, {"method.projector.out_norm": "batch-affine"}),  # solo-learn, solo/methods/nnclr.py, line 61
    ("all4one", CIFAR, {"method.projector.out_norm": "batch-affine"}),  # solo-learn, solo/methods/all4one.py, line 56
    (
        "supcon",
        CIFAR,
        {"method.base_temperature": 0.07, "optimizer.lr": 0.5},
    ),  # HobbitLong/SupContrast, losses.py, line 15
    ("simclr", IMAGENET, {"method.direction_reduction": "sum"}),  # google-research/simclr, tf2/objective.py, line 87
    ("byol", IMAGENET, {"method.direction_reduction": "sum"}),  # deepmind-research, byol/byol_experiment.py
    ("moco-v2-plus", CIFAR, {"method.direction_reduction": "mean"}),  # solo-learn, solo/methods/mocov2plus.py
]


def value_of(settings: dict[str, Any], name: str) -> Any:
    for key in name.split("."):
        settings = settings[key]
    return settings


@pytest.mark.parametrize(("method", "flags", "expected"), CASES, ids=lambda part: part if isinstance(part, str) else "")
def test_settings_are_those_of_the_source(method: str, flags: tuple[str, ...], expected: dict[str, Any]) -> None:
    settings = compose(["--method", method, *flags]).settings()
    assert {name: value_of(settings, name) for name in expected} == expected
