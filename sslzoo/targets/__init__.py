"""Targets: distributions over the positive and the candidates that a query should match; one file each."""

from sslzoo.targets.base import TARGETS, Target, TargetOutput

__all__ = ["TARGETS", "Target", "TargetOutput"]
