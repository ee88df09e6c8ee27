"""Print a hash of the compiled views for several augmentations and sizes; each augmentation has all operations."""

import hashlib

import torch

from sslzoo.data.augment import numba_kernel
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.sampling import sample_parameters

COUNT = 24

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
sizes = torch.randint(1, 51, (COUNT, 2), generator=generator)
for channels in (1, 3):
    pixels = torch.randint(0, 256, (COUNT, channels, 50, 50), dtype=torch.uint8, generator=generator)
    for size in (8, 32, 37):
        for crop, interpolation in (("random", "bilinear"), ("random", "bicubic"), ("center", "bilinear")):
            augmentation = Augmentation(
                size=size, crop=crop, crop_pct=0.8, interpolation=interpolation, crop_scale=(0.2, 1.0), flip=0.5,
                jitter=0.9, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grayscale=0.2, blur=0.9,
                solarize=0.3,
            )  # fmt: skip
            parameters = sample_parameters(augmentation, sizes, torch.arange(COUNT), seed=0, epoch=0, view=0)
            views = numba_kernel.create_views(augmentation, parameters, pixels, sizes, (0.5,), (0.25,))
            print(channels, size, crop, interpolation, hashlib.sha256(views.numpy().tobytes()).hexdigest())
