"""Create views, the augmented images of a batch."""

from importlib import import_module

import torch
from torch import Tensor

from sslzoo.data.augment import blur, color, resample
from sslzoo.data.augment.channels import Channels, apply_to, find_color_channels
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
    value_range: tuple[float, ...] = (),
    rgb: tuple[int, int, int] | None = None,
    compiled: bool = False,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Create one view of a batch, (B, C, size, size) float32, normalized by `mean` and `std` of [0, 1] values.

    The parameters are those of the batch, or are sampled if it has none.

    Args:
        value_range: smallest and largest pixel value, which become 0 and 1; not needed for uint8.
        rgb: channels of red, green and blue, see `find_color_channels`.
        compiled: use the device's kernel in `KERNELS`, unless the augmentation rotates, or the images are not grayscale
            or RGB of uint8.
        memory_format: memory format of the view.

    Raises:
        ValueError: the augmentation has no size.
    """
    if batch.parameters:
        parameters = batch.parameters[view]
    else:
        parameters = sample_parameters(
            augmentation, batch.sizes, batch.ids, seed=seed, epoch=epoch, view=view, channels=batch.pixels.shape[1]
        )
    colored = find_color_channels(batch.pixels.shape[1], rgb)
    if compiled and not augmentation.rotate and colored is None and batch.pixels.dtype == torch.uint8:
        kernel = import_module(KERNELS[batch.pixels.device.type])
        views: Tensor = kernel.create_views(
            augmentation, parameters, batch.pixels, batch.sizes, mean, std, memory_format
        )
        return views
    pixels = batch.pixels if batch.pixels.dtype == torch.uint8 else scale(batch.pixels, value_range)
    plain = normalize(apply_augmentation(augmentation, parameters, pixels, batch.sizes, colored), mean, std)
    return plain.contiguous(memory_format=memory_format)


def apply_augmentation(
    augmentation: Augmentation,
    parameters: AugmentationParameters,
    pixels: Tensor,
    sizes: Tensor,
    colored: Channels = None,
) -> Tensor:
    """Apply an augmentation to a batch with given parameters.

    The operations and their order are those of the reference pipelines of MoCo v2, SimCLR and BYOL on torchvision.
    Only the flip is moved: it is part of the crop, and commutes with the color operations and the blur. All operations
    are float32; the reference rounds to 8 bits after each operation, so its views differ by a few levels.

    Args:
        pixels: (B, C, H, W) uint8 or float32 in [0, 1], padded as in `Batch`.
        sizes: (B, 2) int64.
        colored: channels to which color operations apply. Of the others, the jitter changes the brightness, each by a
            factor of its own.

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
        views = apply_to(
            colored,
            lambda rgb: color.jitter(rgb, parameters.jitter, parameters.order, parameters.factors),
            views,
        )
        if colored is not None:
            others = [channel for channel in range(views.shape[1]) if channel not in colored]
            views[:, others] = color.scale_channels(
                views[:, others], parameters.jitter, parameters.brightness[:, others]
            )
    if augmentation.grayscale:
        views = apply_to(colored, lambda rgb: color.saturation(rgb, 1 - parameters.grayscale.float()), views)
    if augmentation.blur:
        views = blur.gaussian_blur(views, parameters.blur, parameters.sigma, augmentation.taps)
    if augmentation.solarize:
        threshold = augmentation.solarize_threshold / 255
        views = apply_to(colored, lambda rgb: color.solarize(rgb, parameters.solarize, threshold), views)
    return views


def scale(pixels: Tensor, value_range: tuple[float, ...]) -> Tensor:
    """Scale pixels (B, C, H, W) to float32 in [0, 1]; values outside of the range are clipped.

    Args:
        value_range: smallest and largest value.
    """
    low, high = value_range
    return (pixels.float() - low).div_(high - low).clamp_(0, 1)


def normalize(views: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Compute (views - mean) / std, with one value per channel or one for all."""
    shape = (-1, 1, 1)
    return (views - device_constant(mean, views.device).view(shape)).div_(
        device_constant(std, views.device).view(shape)
    )
