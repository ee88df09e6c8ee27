"""Verdict on the health of a training run from its history of measurements."""
