"""`run.py card` and `run.py push`: share the backbone of a run in timm's layout for the Hugging Face Hub."""
