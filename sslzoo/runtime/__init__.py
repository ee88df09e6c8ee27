"""Processes, launch, environment, progress, errors and random numbers."""
