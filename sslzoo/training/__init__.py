"""Training: the loop, checkpoints, metrics, evaluation and the display."""
