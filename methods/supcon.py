"""Supervised Contrastive Learning."""

from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.modules.heads import HeadConfig
from sslzoo.runtime.distributed import gather

from .simclr import SimCLR


@METHODS.register("supcon")
class SupCon(SimCLR):
    """SimCLR that knows labels: all views of the anchor's class are positives, with equal weights.

    Cross-entropy is the paper's L_out. An image without a label forms its own class.
    """

    paper = "Khosla et al., NeurIPS 2020 (arXiv 2004.11362), equation 2"
    supervised = True
    default_target = "same-class"

    class Config(SimCLR.Config):
        projector: HeadConfig = HeadConfig()
        """Head on the backbone."""

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """L_out over the views of the global batch, from embeddings (B, 2, out).

        Args:
            labels: (B,) int64, -1 where there is none.

        Raises:
            ValueError: there are no labels.
        """
        if labels is None:
            raise ValueError("supcon learns from labels, and was given none")
        with disable_autocast(embeddings.device):
            embeddings = F.normalize(embeddings.float(), dim=2)
            alike = (labels[:, None] == gather(labels)) & (labels[:, None] >= 0)
            relations = alike.float().repeat_interleave(2, dim=1).repeat(len(self.config.pairs), 1)
            return self.compute_loss(embeddings, relations)
