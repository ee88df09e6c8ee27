"""How the student's similarities are scored against a target's weights."""

from sslzoo.losses.base import LOSSES, Loss

__all__ = ["LOSSES", "Loss"]
