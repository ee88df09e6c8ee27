"""Create timm models as backbones; register ResNets for small images in timm."""

import logging
from collections.abc import Callable, Collection
from typing import Any

import timm
import torch
from timm.models import load_pretrained, register_model, resolve_pretrained_cfg
from timm.models.resnet import ResNet
from torch import Tensor, nn

from sslzoo.modules.backbone_config import BackboneConfig
from sslzoo.modules.heads import feature_width
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.weights.load import load_checkpoint

log = logging.getLogger(__name__)

__all__ = [
    "SMALL_STEMS", "BackboneConfig", "create_backbone", "feature_width", "model_arguments", "preferred_memory_format",
    "resolve_name",
]  # fmt: skip

SMALL_STEMS = {"small": "_cifar", "small-pool": "_cifar_pool"}
"""Suffix of the model names in timm's registry, by stem."""


def create_backbone(
    config: BackboneConfig,
    *,
    in_chans: int,
    img_size: int,
    view_sizes: Collection[int] = (),
    report: Callable[[str], None] | None = None,
) -> nn.Module:
    """Create a timm model without classifier: (B, in_chans, img_size, img_size) to features (B, D).

    Args:
        view_sizes: further image sizes that it must accept; position embeddings are resized to them.
        report: receives one line about the loaded tensors of `checkpoint`; by default the line is logged.

    Raises:
        UserError: the model does not exist, or does not support the stem or an image size; the weights are missing or
            do not fit.
    """
    name = resolve_name(config, img_size)
    arguments = model_arguments(config, in_chans=in_chans, img_size=img_size)
    other_sizes = sorted({*view_sizes} - {img_size})
    if other_sizes and _is_fixed_size(name) and _supports_several_sizes(name):
        arguments = {"dynamic_img_size": True} | arguments
    backbone = _create(name, config.pretrained, arguments)
    if config.checkpoint is not None:
        (report or log.info)(str(load_checkpoint(backbone, config.checkpoint, config.encoder)))
    for size in (img_size, *other_sizes):
        _check_features(backbone, name, in_chans, size)
    return backbone.to(memory_format=preferred_memory_format(backbone))


def preferred_memory_format(backbone: nn.Module) -> torch.memory_format:
    """Return the memory format in which a backbone is fastest: channels_last for a convolutional network.

    Convolutions whose kernel is not larger than their stride only split patches or mix channels. A model with no other
    convolutions, such as a vision transformer, keeps the contiguous format.
    """
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    overlapping = any(side > step for c in convolutions for side, step in zip(c.kernel_size, c.stride, strict=True))
    return torch.channels_last if overlapping else torch.contiguous_format


def model_arguments(config: BackboneConfig, *, in_chans: int, img_size: int) -> dict[str, Any]:
    """Return the arguments of `timm.create_model` besides the name."""
    arguments = {"in_chans": in_chans, "num_classes": 0}
    if _is_fixed_size(resolve_name(config, img_size)):
        arguments["img_size"] = img_size
    return arguments | config.kwargs


def resolve_name(config: BackboneConfig, img_size: int) -> str:
    """Return timm's name of the configured model and stem: resnet18 with the small stem is resnet18_cifar.

    Raises:
        UserError: the model does not exist, or does not support the stem.
    """
    if ":" in config.name:
        return config.name
    architecture, _, tag = config.name.partition(".")
    if not timm.is_model(architecture):
        raise UserError(
            f"--backbone {config.name}: timm {timm.__version__} has no such model"
            f"{near_misses(architecture, timm.list_models())}"
        )
    if tag and config.name not in (tagged := timm.list_pretrained(f"{architecture}.*")):
        raise UserError(f"--backbone {config.name}: timm has no such weights{near_misses(config.name, tagged)}")
    weights = config.pretrained or bool(tag)
    stem = config.stem
    if stem == "auto":
        possible = timm.is_model(f"{architecture}_cifar") and not weights
        stem = "standard" if not possible or img_size > 64 else "small" if img_size <= 32 else "small-pool"
    if stem == "standard":
        return config.name
    if not timm.is_model(architecture + SMALL_STEMS[stem]):
        raise UserError(
            f"--backbone.stem {stem}: {config.name} has no such stem, only the ResNet families of timm do; "
            "use auto, or choose a ResNet"
        )
    if weights:
        raise UserError(
            f"--backbone.stem {stem}: the pretrained weights of {config.name} are for the standard stem; "
            "use --backbone.stem standard, or --backbone.pretrained false"
        )
    return architecture + SMALL_STEMS[stem]


def _is_fixed_size(name: str) -> bool:
    if ":" in name:
        return False
    cfg = timm.get_pretrained_cfg(name.partition(".")[0])
    return bool(cfg is not None and cfg.fixed_input_size)


def _create(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    try:
        backbone: nn.Module = timm.create_model(name, pretrained=pretrained, **arguments)
    except UserError:
        raise
    except Exception as error:  # each model of timm raises its own errors
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"--backbone {name} with {_format_arguments(arguments)}: timm raised: {reason}") from error
    return backbone


def _supports_several_sizes(name: str) -> bool:
    """Whether a model of fixed size has an option to accept other image sizes."""
    try:
        with torch.device("meta"):
            timm.create_model(name, dynamic_img_size=True)
    except TypeError:
        return False
    return True


def _check_features(backbone: nn.Module, name: str, in_chans: int, img_size: int) -> None:
    """Run a forward pass on zeros, so that an unsupported size is an error before training starts."""
    training = backbone.training
    try:
        with torch.no_grad():
            features: Tensor = backbone.eval()(torch.zeros(2, in_chans, img_size, img_size))
    except Exception as error:  # each layer raises its own errors
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"--backbone {name}: does not accept {img_size} x {img_size} images: {reason}") from error
    finally:
        backbone.train(training)
    if features.shape != (2, feature_width(backbone)):
        raise UserError(f"--backbone {name}: features have shape {tuple(features.shape)}, must be one vector per image")


def _format_arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


def _small_resnet(base: str, max_pool: bool) -> Callable[..., ResNet]:
    def build(
        pretrained: bool = False, pretrained_cfg: Any = None, pretrained_cfg_overlay: Any = None, **kwargs: Any
    ) -> ResNet:
        if pretrained and pretrained_cfg is None:
            raise UserError(f"--backbone.pretrained: there are no weights of {base} with the small stem")
        model: ResNet = timm.create_model(base, **kwargs)
        convolutions = [part for part in model.conv1.modules() if isinstance(part, nn.Conv2d)]
        model.conv1 = nn.Conv2d(
            convolutions[0].in_channels, convolutions[-1].out_channels, kernel_size=3, padding=1, bias=False
        )
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        if not max_pool:
            model.maxpool = nn.Identity()
        if pretrained_cfg is not None:  # of a model that was exported in timm's layout for the Hub
            described = resolve_pretrained_cfg(build.__name__, pretrained_cfg, pretrained_cfg_overlay)
            model.pretrained_cfg = model.default_cfg = described.to_dict()
            if pretrained:
                load_pretrained(model, model.pretrained_cfg, model.num_classes, model.conv1.in_channels)
        return model

    return build


def _register_small_resnets() -> None:
    for base in timm.list_models(module="resnet"):
        for stem, ending in SMALL_STEMS.items():
            build = _small_resnet(base, max_pool=stem == "small-pool")
            build.__name__, build.__module__ = base + ending, __name__
            globals()[build.__name__] = register_model(build)


_register_small_resnets()
