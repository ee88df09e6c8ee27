"""`run.py plan`: estimate the duration and bottleneck of a run."""
