"""Heads on a backbone: projector and predictor; and the encoder, a backbone with a projector."""

from typing import Literal, Self

from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from sslzoo.config.schema import Config


class HeadConfig(Config):
    """A multi-layer perceptron: Linear [- norm] - activation between layers, Linear [- norm] at the end."""

    layers: PositiveInt = 2
    """Number of linear layers."""
    hidden: PositiveInt = 2048
    """Width between the layers."""
    out: PositiveInt = 128
    """Width of the embedding."""
    norm: Literal["none", "batch"] = "none"
    """`batch` puts batch norm after each layer but the last."""
    activation: Literal["relu", "gelu"] = "relu"
    """Activation after each layer but the last."""
    out_norm: Literal["none", "batch", "batch-affine"] = "none"
    """`batch` puts batch norm without scale and shift after the last layer, as SimSiam and MoCo v3 do; `batch-affine`
    has scale and shift, as NNCLR does."""


class PredictorConfig(Config):
    """Settings of a method whose student has a projector and a predictor."""

    projector: HeadConfig = HeadConfig(norm="batch")
    """Head of both encoders."""
    predictor: HeadConfig = HeadConfig(hidden=512, norm="batch")
    """Head of the student only; its output is as wide as the projector's."""

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if self.predictor.out != self.projector.out:
            raise ValueError(f"predictor.out = {self.predictor.out}: must be projector.out, {self.projector.out}")
        return self


class Head(nn.Sequential):
    """A multi-layer perceptron (B, features) -> (B, out)."""

    def __init__(self, features: int, config: HeadConfig) -> None:
        parts: list[nn.Module] = []
        for _ in range(config.layers - 1):
            parts.append(nn.Linear(features, config.hidden, bias=config.norm == "none"))
            if config.norm == "batch":
                parts.append(nn.BatchNorm1d(config.hidden))
            parts.append(nn.ReLU(inplace=True) if config.activation == "relu" else nn.GELU())
            features = config.hidden
        parts.append(nn.Linear(features, config.out))
        if config.out_norm != "none":
            parts.append(nn.BatchNorm1d(config.out, affine=config.out_norm == "batch-affine"))
        super().__init__(*parts)


class Encoder(nn.Module):
    """Backbone and projector: images (B, C, H, W) to embeddings (B, out), not normalized."""

    def __init__(self, backbone: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector

    @classmethod
    def of(cls, backbone: nn.Module, projector: HeadConfig) -> Self:
        """Create the encoder of a backbone and a projector with these settings."""
        return cls(backbone, Head(feature_width(backbone), projector))

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.projector(self.backbone(images))
        return embeddings


def feature_width(backbone: nn.Module) -> int:
    """Return D, the width of a timm model's features."""
    width: int = getattr(backbone, "head_hidden_size", None) or backbone.num_features  # type: ignore[assignment]
    return width
