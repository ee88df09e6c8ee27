"""Scoring of encoders; knows nothing of how they were trained."""
