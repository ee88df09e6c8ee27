"""Losses, which score the student's similarities against the weights of a target; one file each."""

from sslzoo.losses.base import LOSSES, Loss

__all__ = ["LOSSES", "Loss"]
