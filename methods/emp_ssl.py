"""Extreme Multi-Patch Self-Supervised Learning."""

from typing import Any

from einops import rearrange
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.method.base import METHODS, Method, MethodOutput, disable_autocast
from sslzoo.method.multi_crop import encode_views
from sslzoo.modules.coding_rate import total_coding_rate
from sslzoo.modules.heads import Encoder, HeadConfig
from sslzoo.runtime.distributed import gather_with_gradient

MOST_PATCHES = 1000


@METHODS.register("emp-ssl")
class EMPSSL(Method):
    """EMP-SSL: many small crops of an image agree with their mean, while the crops of all images spread.

    The authors score the mean of the features of 128 crops, behind the first layer of the projector, as `evaluate RUN
    --crops 128 --projector-layers 1` does; by default they are those of the backbone for the whole image.
    """

    paper = "Tong et al. 2023 (arXiv 2304.03977); factors, projector and crops as in their code"

    class Config(Method.Config):
        views: tuple[str, ...] = ("patch",) * 20
        """The augmentation of all crops; its name once, or as often as there are patches."""
        patches: int = Field(20, ge=2, le=MOST_PATCHES)
        """n, the number of crops of an image."""
        invariance: NonNegativeFloat = 200.0
        """lambda, weight of the cosine similarity of a crop and the mean of its image, a mean over crops and images."""
        coding_rate: NonNegativeFloat = 1.0
        """Weight of the total coding rate of the images' n-th crops, a mean over crops."""
        eps: PositiveFloat = 0.2
        """Squared distortion of the coding rate."""
        projector: HeadConfig = HeadConfig(layers=3, hidden=4096, out=1024, norm="batch")
        """Head on the backbone."""

        @model_validator(mode="before")
        @classmethod
        def _repeat_view(cls, settings: Any) -> Any:
            """Name the augmentation of each crop."""
            if not isinstance(settings, dict):
                return settings
            views, patches = settings.get("views", ("patch",)), settings.get("patches", 20)
            if not isinstance(views, list | tuple) or not isinstance(patches, int) or patches > MOST_PATCHES:
                return settings  # the types of the settings are wrong, which is reported where they are checked
            if len(set(views)) != 1:
                raise ValueError(f"views = {list(views)}: takes one augmentation, that of all crops")
            return {**settings, "views": tuple(views[:1]) * patches}

    config: Config

    def __init__(self, config: Config, backbone: nn.Module, *, seed: int = 0) -> None:
        super().__init__(config, backbone, seed=seed)
        self.student = Encoder.of(backbone, config.projector)

    def forward(self, views: list[Tensor], sample_ids: Tensor) -> MethodOutput:
        """The loss of the global batch, in float32; batch norm sees all crops together."""
        features = rearrange(encode_views(self.student.backbone, views), "v b d -> (v b) d")
        embeddings = rearrange(self.student.projector(features), "(v b) d -> b v d", v=len(views))
        with disable_autocast(embeddings.device):
            embeddings = F.normalize(embeddings.float(), dim=2)
            loss, logs = self.score(gather_with_gradient(embeddings).transpose(0, 1))
        return MethodOutput(loss, logs, embeddings[:, 0].detach())

    def score(self, embeddings: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """- lambda mean cos(z, mean of the image) - mean R(Z), from unit embeddings (V, B, D) of all processes."""
        invariance = F.cosine_similarity(embeddings, embeddings.mean(dim=0, keepdim=True), dim=2).mean()
        rate = total_coding_rate(embeddings, self.config.eps).mean()
        loss = -self.config.invariance * invariance - self.config.coding_rate * rate
        return loss, {"invariance": invariance.detach(), "coding_rate": rate.detach()}
