"""Evaluation of encoders, independent of how they were trained."""
