"""A custom target: turns the teacher's similarities into weights."""

import torch
from pydantic import Field, PositiveFloat
from sslzoo import TARGETS, Target, TargetOutput
from torch import Tensor


@TARGETS.register("new-target")
class NewTarget(Target):
    """A fixed share of the weight goes to the candidates that the teacher finds similar."""

    paper = ""  # "Authors, venue (arXiv id), equation", which list and describe show

    class Config(Target.Config):
        """Each field is a flag, `--target.share`, with its docstring as help."""

        share: float = Field(0.3, ge=0, le=1)
        """Weight of all candidates together."""
        temperature: PositiveFloat = 0.05
        """Temperature of the teacher's softmax over the candidates."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Weights of the pairs, without gradient.

        Args:
            positive: (B,) cosine similarity of each key and its positive.
            candidates: (B, M) cosine similarities of each key and the candidates.

        Returns:
            (B, 1 + M) weights whose rows sum to 1, the positive's first, and scalars
            that the progress line and metrics.jsonl show.
        """
        share, temperature = self.config.share, self.config.temperature
        neighbors = share * (candidates / temperature).softmax(dim=1)
        first = torch.full_like(positive, 1 - share)[:, None]
        weights = torch.cat([first, neighbors], dim=1)
        return TargetOutput(weights, {"top_neighbor": neighbors.amax(dim=1).mean()})
