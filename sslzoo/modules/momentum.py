"""The momentum teacher, an exponential moving average of the student."""

import copy
import math

import torch
from pydantic import Field
from torch import Tensor, nn

from sslzoo.config.schema import Config


class MomentumConfig(Config):
    """Settings of a method with a momentum encoder."""

    momentum: float = Field(0.99, ge=0, le=1)
    """m of the momentum encoder."""
    momentum_end: float | None = Field(None, ge=0, le=1)
    """m at the end of training, reached along a cosine; None keeps it constant."""


class Teacher(nn.Module):
    """Exponential moving average of a student, parameters and buffers (Mean Teacher; MoCo, equation 2).

    teacher <- m * teacher + (1 - m) * student, after each optimizer step; integer buffers are copied. With
    `momentum_end`, m changes from `momentum` to `momentum_end` along half a cosine (BYOL, section 3.3).
    """

    def __init__(self, student: nn.Module, momentum: float, momentum_end: float | None = None) -> None:
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(False)
        self.momentum = momentum
        self.momentum_end = momentum if momentum_end is None else momentum_end

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the teacher's embeddings, without gradient."""
        embeddings: Tensor = self.model(images)
        return embeddings

    def momentum_at(self, progress: float) -> float:
        """Return m at a fraction of training in [0, 1]."""
        remaining = (1 + math.cos(math.pi * progress)) / 2
        return self.momentum_end - (self.momentum_end - self.momentum) * remaining

    @torch.no_grad()
    def update(self, student: nn.Module, progress: float) -> None:
        """Update the average with the student, which must have the same structure as the initial one."""
        weight = 1 - self.momentum_at(progress)
        ours = [*self.model.parameters(), *self.model.buffers()]
        theirs = [*student.parameters(), *student.buffers()]
        moving = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in moving], [b for _, b in moving], weight)
        counted = [(a, b) for a, b in zip(ours, theirs, strict=True) if not a.is_floating_point()]
        if counted:
            torch._foreach_copy_([a for a, _ in counted], [b for _, b in counted])
