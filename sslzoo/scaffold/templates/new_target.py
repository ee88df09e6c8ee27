"""A custom target: turns the teacher's similarities into weights."""

import torch
from pydantic import Field, PositiveFloat
from sslzoo import TARGETS, Target, TargetOutput
from torch import Tensor


@TARGETS.register("new-target")
class NewTarget(Target):
    """Give a fixed share of the weight to candidates that the teacher finds similar."""

    paper = ""  # "Authors, venue (arXiv id), equation", shown by `list` and `describe`

    class Config(Target.Config):
        """Each field is a flag, `--target.share`, with its docstring as help."""

        share: float = Field(0.3, ge=0, le=1)
        """Total weight of the candidates."""
        temperature: PositiveFloat = 0.05
        """Temperature of the teacher's softmax over the candidates."""

    config: Config

    def forward(self, positive: Tensor, candidates: Tensor) -> TargetOutput:
        """Compute the weights of the pairs; no gradient is recorded.

        Args:
            positive: cosine similarity of each key with its positive (B,).
            candidates: cosine similarities of each key with the candidates (B, M).

        Returns:
            Weights (B, 1 + M), the positive first, whose rows sum to 1; and scalars for
            the progress line and metrics.jsonl.
        """
        share, temperature = self.config.share, self.config.temperature
        neighbors = share * (candidates / temperature).softmax(dim=1)
        first = torch.full_like(positive, 1 - share)[:, None]
        weights = torch.cat([first, neighbors], dim=1)
        return TargetOutput(weights, {"top_neighbor": neighbors.amax(dim=1).mean()})
