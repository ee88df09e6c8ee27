"""Training: the loop, checkpoints, monitoring and the console."""
