"""Supervised Contrastive Learning."""

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from sslzoo.method.base import METHODS, MethodOutput, disable_autocast
from sslzoo.modules.heads import HeadConfig
from sslzoo.runtime.distributed import gather

from .simclr import SimCLR


@METHODS.register("supcon")
class SupCon(SimCLR):
    """SimCLR with labels: all views of the anchor's class are positives, with equal weights.

    With cross-entropy the loss is the paper's L_out, the mean over all 2 N anchors. The authors' code
    (HobbitLong/SupContrast, `losses.py`) multiplies it by t / `base_temperature` with a base of 0.07, and its learning
    rates belong to that factor. An image without a label forms its own class.
    """

    paper = "Khosla et al., NeurIPS 2020 (arXiv 2004.11362), equation 2"
    supervised = True
    default_target = "same-class"

    class Config(SimCLR.Config):
        projector: HeadConfig = HeadConfig()
        """Head on the backbone."""
        base_temperature: PositiveFloat | None = None
        """If set, the loss is multiplied by its temperature divided by this one."""

    config: Config

    def contrast(self, embeddings: Tensor, labels: Tensor | None = None) -> MethodOutput:
        """Compute L_out over the views of the global batch from embeddings (B, 2, out).

        Args:
            labels: (B,) int64, -1 for an image without label.

        Raises:
            ValueError: `labels` is None.
        """
        if labels is None:
            raise ValueError("supcon learns from labels, and was given none")
        with disable_autocast(embeddings.device):
            embeddings = F.normalize(embeddings.float(), dim=2)
            alike = (labels[:, None] == gather(labels)) & (labels[:, None] >= 0)
            relations = alike.float().repeat_interleave(2, dim=1).repeat(len(self.config.pairs), 1)
            output = self.compute_loss(embeddings, relations)
        return output._replace(loss=self.scale * output.loss)

    def trivial_loss(self) -> float | None:
        """Return the loss if all similarities are 1."""
        loss = super().trivial_loss()
        return None if loss is None else self.scale * loss

    @property
    def scale(self) -> float:
        """Factor of the loss; 1 without `base_temperature`, or if the loss has no temperature."""
        base = self.config.base_temperature
        return 1.0 if base is None else float(getattr(self.loss.config, "temperature", base)) / base
