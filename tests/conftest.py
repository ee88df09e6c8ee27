"""Settings common to all tests."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("sslzoo", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("sslzoo")
