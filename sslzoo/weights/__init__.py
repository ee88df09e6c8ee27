"""Weights in: checkpoints of this and of other projects, into timm's models."""
