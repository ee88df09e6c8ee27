"""Create views, the augmented images of a batch."""

from importlib import import_module

import torch
from torch import Tensor

from sslzoo.data.augment import blur, color, resample
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.device import device_constant
from sslzoo.data.augment.rotate import rotate
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.batch import AugmentationParameters, Batch

KERNELS = {"cpu": "sslzoo.data.augment.numba_kernel", "cuda": "sslzoo.data.augment.triton_kernel"}
"""Module with the compiled kernel for each device type; they need Numba and Triton, which are optional."""
COMPILERS = {"cpu": "Numba", "cuda": "Triton"}
"""Package that compiles the kernel for each device type."""


def explain_missing_kernel(device_type: str) -> str | None:
    """Return the reason why augmentations cannot be compiled for this device type, as one line; None if they can."""
    if device_type not in KERNELS:
        return f"kernels exist for {' and '.join(KERNELS)}, and the device is {device_type}"
    compiler = COMPILERS[device_type]
    try:
        import_module(KERNELS[device_type])
    except ImportError:
        return f"needs {compiler}; `pip install {compiler.lower()}`"
    except RuntimeError as error:  # Numba has no writable cache folder
        return f"{error}; set NUMBA_CACHE_DIR to a folder for compiled code"
    return None


@torch.no_grad()
def create_view(
    augmentation: Augmentation,
    batch: Batch,
    *,
    seed: int,
    epoch: int,
    view: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    compiled: bool = False,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Create one view of a batch, (B, C, size, size) float32, normalized by `mean` and `std` of [0, 1] values.

    The parameters are those of the batch, or are sampled if it has none.

    Args:
        compiled: use the device's kernel in `KERNELS`, unless the augmentation rotates.
        memory_format: memory format of the view.

    Raises:
        ValueError: the augmentation has no size.
    """
    if batch.parameters:
        parameters = batch.parameters[view]
    else:
        parameters = sample_parameters(augmentation, batch.sizes, batch.ids, seed=seed, epoch=epoch, view=view)
    if compiled and not augmentation.rotate:
        kernel = import_module(KERNELS[batch.pixels.device.type])
        views: Tensor = kernel.create_views(
            augmentation, parameters, batch.pixels, batch.sizes, mean, std, memory_format
        )
        return views
    plain = normalize(apply_augmentation(augmentation, parameters, batch.pixels, batch.sizes), mean, std)
    return plain.contiguous(memory_format=memory_format)


def apply_augmentation(
    augmentation: Augmentation, parameters: AugmentationParameters, pixels: Tensor, sizes: Tensor
) -> Tensor:
    """Apply an augmentation to a batch with given parameters.

    The operations and their order are those of the reference pipelines of MoCo v2, SimCLR and BYOL on torchvision.
    Only the flip is moved: it is part of the crop, and commutes with the color operations and the blur. All operations
    are float32; the reference rounds to 8 bits after each operation, so its views differ by a few levels.

    Args:
        pixels: (B, C, H, W) uint8, padded as in `Batch`; with C = 1, color operations do not change them.
        sizes: (B, 2) int64.

    Returns:
        (B, C, size, size) float32 in [0, 1].

    Raises:
        ValueError: the augmentation has no size.
    """
    if augmentation.size is None:
        raise ValueError("the augmentation has no size")
    if augmentation.crop == "random":
        views = resample.resized_crop(
            pixels, parameters.box, parameters.flip, augmentation.size, augmentation.interpolation
        )
    elif augmentation.crop == "squash":
        whole = torch.cat([torch.zeros_like(sizes), sizes], dim=1)
        views = resample.resized_crop(pixels, whole, parameters.flip, augmentation.size, augmentation.interpolation)
    else:
        views = resample.center_crop(
            pixels, sizes, parameters.flip, augmentation.size, augmentation.interpolation, augmentation.crop_pct
        )
    if augmentation.rotate:
        views = rotate(views, parameters.angle)
    if augmentation.jitter:
        views = color.jitter(views, parameters.jitter, parameters.order, parameters.factors)
    if augmentation.grayscale:
        views = color.saturation(views, 1 - parameters.grayscale.float())
    if augmentation.blur:
        views = blur.gaussian_blur(views, parameters.blur, parameters.sigma, augmentation.taps)
    if augmentation.solarize:
        bright = parameters.solarize[:, None, None, None] & (views >= augmentation.solarize_threshold / 255)
        views = torch.where(bright, 1 - views, views)
    return views


def normalize(views: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Compute (views - mean) / std, with one value per channel or one for all."""
    shape = (-1, 1, 1)
    return (views - device_constant(mean, views.device).view(shape)).div_(
        device_constant(std, views.device).view(shape)
    )
