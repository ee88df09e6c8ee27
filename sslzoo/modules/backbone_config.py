"""The settings of a backbone, which are validated without importing timm."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, model_validator

from sslzoo.config.schema import Config, YamlMapping


class BackboneConfig(Config):
    """The encoder that is trained: any timm model."""

    name: str = "resnet18"
    """timm's name, `resnet50.a1_in1k` with a tag, `hf-hub:owner/model`, or `local-dir:path`."""
    pretrained: bool = False
    """Start from timm's weights of that name instead of random ones."""
    checkpoint: Path | None = None
    """Start from the weights in a local file of the same architecture: of sslzoo, timm, torchvision, or a checkpoint of
    MoCo, SimSiam, solo-learn, lightly, VISSL, SwAV, DINO and others (.safetensors, .pth, .ckpt)."""
    encoder: str | None = None
    """Prefix of the encoder in that file, such as `module.encoder_k`; None selects the one its project evaluates."""
    freeze: NonNegativeInt = 0
    """Number of first blocks that keep their weights in training, with everything before them; 0 trains everything."""
    lora: NonNegativeInt = 0
    """Rank of low-rank adapters (LoRA) of linear layers; they are trained instead of the weights, and added to them on
    export; 0 trains the weights."""
    stem: Literal["auto", "standard", "small", "small-pool"] = "auto"
    """First layer of a ResNet: timm's `standard` one; `small`: 3x3 convolution of stride 1, no max-pool;
    `small-pool`: the same with max-pool; `auto`: small up to 32 pixels, small-pool up to 64, else standard."""
    kwargs: YamlMapping = {}
    """Further arguments of the model in timm, such as `{drop_path_rate: 0.1}`."""

    @model_validator(mode="after")
    def _encoder_needs_checkpoint(self) -> "BackboneConfig":
        if self.encoder is not None and self.checkpoint is None:
            raise ValueError(f"encoder = {self.encoder}: is the prefix of an encoder in a file, so it needs checkpoint")
        return self

    @property
    def has_weights(self) -> bool:
        """Whether the backbone starts from pretrained weights."""
        return self.pretrained or self.checkpoint is not None
