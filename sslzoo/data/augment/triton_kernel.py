"""Augmentation on a GPU as one Triton kernel; each program creates the view of one image.

The operations and parameters are those of the reference, `apply_augmentation` and `normalize` in
`sslzoo.data.augment.view`. Results differ by float32 rounding. Rotation is not implemented here. Reductions have a
fixed order, so results are bit-identical for the same input.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.device import device_constant
from sslzoo.data.augment.resample import crop_geometry
from sslzoo.data.batch import AugmentationParameters

PIXELS = 1024
"""Pixels of a view that a program processes at once."""
LAUNCH = {"num_warps": 8} | ({"maxnreg": 128} if torch.version.hip is None else {})
"""Warps of a program, and registers of a thread, so that two programs fit a multiprocessor (ROCm sets no limit)."""


def create_views(
    augmentation: Augmentation,
    parameters: AugmentationParameters,
    pixels: Tensor,
    sizes: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Create the normalized views of a batch on a GPU.

    Args:
        pixels: (B, C, H, W) uint8, padded as in `Batch`.
        sizes: (B, 2) int64.
        memory_format: memory format of the views.

    Returns:
        (B, C, size, size) float32.
    """
    assert augmentation.size is not None
    count, channels, height, width = pixels.shape
    start, length, scale, offset = crop_geometry(
        augmentation.crop, augmentation.size, augmentation.crop_pct, parameters.box, sizes
    )
    views = torch.empty(
        (count, channels, augmentation.size, augmentation.size), device=pixels.device, memory_format=memory_format
    )  # fmt: skip
    arguments: dict[str, Any] = {
        "pixels": pixels.contiguous(),
        "start": start.contiguous(),
        "length": length.contiguous(),
        "scale": scale.contiguous(),
        "offset": offset.contiguous(),
        "flip": parameters.flip.contiguous(),
        "jitter": parameters.jitter.contiguous(),
        "order": parameters.order.contiguous(),
        "factors": parameters.factors.contiguous(),
        "gray": parameters.grayscale.contiguous(),
        "blur": parameters.blur.contiguous(),
        "sigma": parameters.sigma.contiguous(),
        "solarize": parameters.solarize.contiguous(),
        "mean": device_constant(mean, pixels.device).expand(channels).contiguous(),
        "std": device_constant(std, pixels.device).expand(channels).contiguous(),
        "scratch": torch.empty((count, channels, augmentation.size, augmentation.size), device=pixels.device),
        "views": views,
        "height": height,
        "width": width,
        "channel_stride": views.stride(1),
        "pixel_stride": views.stride(3),
    }
    constants = {
        "SIZE": augmentation.size,
        "CHANNELS": channels,
        "CUBIC": augmentation.interpolation == "bicubic",
        "JITTER": augmentation.jitter > 0,
        "GRAY": augmentation.grayscale > 0 and channels == 3,
        "BLUR": augmentation.blur > 0,
        "SOLARIZE": augmentation.solarize > 0,
        "THRESHOLD": augmentation.solarize_threshold / 255,
        "TAPS": augmentation.taps,
        "PIXELS": PIXELS,
    }
    augment_image[(count,)](**arguments, **constants, **LAUNCH)
    return views


@triton.jit
def augment_image(
    pixels, start, length, scale, offset, flip, jitter, order, factors, gray, blur, sigma, solarize, mean, std,
    scratch, views, height, width, channel_stride, pixel_stride,
    SIZE: tl.constexpr, CHANNELS: tl.constexpr, CUBIC: tl.constexpr, JITTER: tl.constexpr, GRAY: tl.constexpr,
    BLUR: tl.constexpr, SOLARIZE: tl.constexpr, THRESHOLD: tl.constexpr, TAPS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Create the view of image `program_id(0)`; the arguments are those of `create_views`.

    Crop, resize and the color operations before contrast come first, because contrast needs the mean luma of the view.
    """
    i = tl.program_id(0).to(tl.int64)
    area: tl.constexpr = SIZE * SIZE
    image = pixels + i * CHANNELS * height * width
    plane = scratch + i * CHANNELS * area
    view = views + i * CHANNELS * area
    colorful = tl.load(jitter + i) if JITTER else False
    blurred = tl.load(blur + i) if BLUR else False
    contrast_at = 0
    if JITTER:
        for k in tl.static_range(4):
            contrast_at += tl.where(tl.load(order + 4 * i + k) == 1, k, 0)

    luma_sum = tl.zeros((PIXELS,), tl.float32)
    for first in range(0, area, PIXELS):
        p = first + tl.arange(0, PIXELS)
        inside = p < area
        red, green, blue = resample(
            image, start + 2 * i, length + 2 * i, scale + 2 * i, offset + 2 * i, tl.load(flip + i), p, inside,
            height, width, SIZE, CHANNELS, CUBIC,
        )  # fmt: skip
        if JITTER:
            if colorful:
                for k in tl.static_range(4):
                    if k < contrast_at:
                        red, green, blue = adjust(red, green, blue, order + 4 * i, factors + 4 * i, k, CHANNELS)
            luma_sum += tl.where(inside, luma(red, green, blue, CHANNELS), 0.0)
        store(plane, p, inside, red, green, blue, area, 1, CHANNELS)
    mean_luma = tl.sum(luma_sum, axis=0) / area
    tl.debug_barrier()

    for first in range(0, area, PIXELS):
        p = first + tl.arange(0, PIXELS)
        inside = p < area
        red, green, blue = load(plane, p, inside, area, CHANNELS)
        if JITTER:
            if colorful:
                factor = tl.load(factors + 4 * i + 1)
                red = blend(red, mean_luma, factor)
                green = blend(green, mean_luma, factor)
                blue = blend(blue, mean_luma, factor)
                for k in tl.static_range(4):
                    if k > contrast_at:
                        red, green, blue = adjust(red, green, blue, order + 4 * i, factors + 4 * i, k, CHANNELS)
        if GRAY:
            if tl.load(gray + i):
                level = luma(red, green, blue, CHANNELS)
                red, green, blue = level, level, level
        store(plane, p, inside, red, green, blue, area, 1, CHANNELS)
    tl.debug_barrier()

    if BLUR:
        if blurred:
            deviation = tl.load(sigma + i)
            gaussian_blur(
                plane, view, deviation, SIZE, CHANNELS, TAPS, PIXELS, area, 1, channel_stride, pixel_stride, 1
            )
            tl.debug_barrier()
            gaussian_blur(
                view, plane, deviation, SIZE, CHANNELS, TAPS, PIXELS, channel_stride, pixel_stride, area, 1, SIZE
            )
            tl.debug_barrier()

    for first in range(0, area, PIXELS):
        p = first + tl.arange(0, PIXELS)
        inside = p < area
        for c in tl.static_range(CHANNELS):
            value = tl.load(plane + c * area + p, mask=inside, other=0.0)
            if SOLARIZE:
                if tl.load(solarize + i):
                    value = tl.where(value >= THRESHOLD, 1 - value, value)
            value = (value - tl.load(mean + c)) / tl.load(std + c)
            tl.store(view + c * channel_stride + p * pixel_stride, value, mask=inside)


@triton.jit
def resample(
    image, start, length, scale, offset, flipped, p, inside, height, width,
    SIZE: tl.constexpr, CHANNELS: tl.constexpr, CUBIC: tl.constexpr,
):  # fmt: skip
    """Compute pixels p of the resized box, antialiased, in [0, 1]; the arguments point at the values of one image."""
    y, x = p // SIZE, p % SIZE
    x = tl.where(flipped, SIZE - 1 - x, x)
    top, left = tl.load(start), tl.load(start + 1)
    y_first, y_last, y_center, y_width, y_taps = reach(y, length, scale, offset, CUBIC)
    x_first, x_last, x_center, x_width, x_taps = reach(x, length + 1, scale + 1, offset + 1, CUBIC)
    x_sum = tl.zeros_like(x_center)
    for k in range(x_taps):
        column = x_first + k
        x_sum += tl.where(column <= x_last, weigh(column, x_center, x_width, CUBIC), 0.0)
    y_sum, red, green, blue = tl.zeros_like(x_sum), tl.zeros_like(x_sum), tl.zeros_like(x_sum), tl.zeros_like(x_sum)
    for j in range(y_taps):
        row = y_first + j
        row_weight = tl.where(row <= y_last, weigh(row, y_center, y_width, CUBIC), 0.0)
        y_sum += row_weight
        for k in range(x_taps):
            column = x_first + k
            exists = inside & (row <= y_last) & (column <= x_last)
            weight = row_weight * weigh(column, x_center, x_width, CUBIC)
            source = image + (top + row) * width + left + column
            red += weight * tl.load(source, mask=exists, other=0).to(tl.float32)
            if CHANNELS == 3:
                green += weight * tl.load(source + height * width, mask=exists, other=0).to(tl.float32)
                blue += weight * tl.load(source + 2 * height * width, mask=exists, other=0).to(tl.float32)
    share = 1 / (255 * x_sum * y_sum)
    return clip(red * share), clip(green * share), clip(blue * share)


@triton.jit
def reach(outputs, length, scale, offset, CUBIC: tl.constexpr):
    """Return the first and last source pixel of each output, its center, the filter width, and the largest count."""
    step = tl.load(scale)
    center = (outputs + tl.load(offset) + 0.5) * step
    width = tl.maximum(step, 1.0)
    radius = (2 if CUBIC else 1) * width
    first = tl.maximum(tl.ceil(center - radius - 0.5), 0.0).to(tl.int64)
    last = tl.minimum(tl.floor(center + radius - 0.5).to(tl.int64), tl.load(length) - 1)
    return first, last, center, width, tl.ceil(2 * radius).to(tl.int32) + 1


@triton.jit
def weigh(pixel, center, width, CUBIC: tl.constexpr):
    """Evaluate the triangle filter, or Keys' cubic with a = -0.5, widened if images are downsampled."""
    x = tl.abs(pixel + 0.5 - center) / width
    if CUBIC:
        near = (1.5 * x - 2.5) * x * x + 1
        far = ((-0.5 * x + 2.5) * x - 4) * x + 2
        weight = tl.where(x < 1, near, tl.where(x < 2, far, 0.0))
    else:
        weight = tl.maximum(1 - x, 0.0)
    return weight


@triton.jit
def adjust(red, green, blue, order, factors, k, CHANNELS: tl.constexpr):
    """Apply operation k of an image's jitter, unless it is contrast."""
    operation = tl.load(order + k)
    factor = tl.load(factors + operation)
    if operation == 0:
        red, green, blue = clip(red * factor), clip(green * factor), clip(blue * factor)
    if CHANNELS == 3:
        if operation == 2:
            level = luma(red, green, blue, CHANNELS)
            red, green, blue = blend(red, level, factor), blend(green, level, factor), blend(blue, level, factor)
        if operation == 3:
            red, green, blue = shift_hue(red, green, blue, factor)
    return red, green, blue


@triton.jit
def shift_hue(red, green, blue, shift):
    """Shift the hue in HSV space by a fraction of the color circle."""
    value = tl.maximum(red, tl.maximum(green, blue))
    chroma = value - tl.minimum(red, tl.minimum(green, blue))
    inverse = 1 / tl.maximum(chroma, 1e-12)
    by_blue = (red - green) * inverse + 4
    by_green = (blue - red) * inverse + 2
    by_red = (green - blue) * inverse
    hue = tl.where(value == red, by_red, tl.where(value == green, by_green, by_blue)) + 6 * shift
    hue -= 6 * tl.floor(hue / 6)
    return (
        value - chroma * (1 - clip(tl.abs(hue - 3) - 1)),
        value - chroma * (1 - clip(2 - tl.abs(hue - 2))),
        value - chroma * (1 - clip(2 - tl.abs(hue - 4))),
    )


@triton.jit
def gaussian_blur(
    source, target, sigma, SIZE: tl.constexpr, CHANNELS: tl.constexpr, TAPS: tl.constexpr, PIXELS: tl.constexpr,
    source_channel, source_pixel, target_channel, target_pixel, AXIS: tl.constexpr,
):  # fmt: skip
    """Apply a Gaussian blur along rows (AXIS 1) or columns (AXIS SIZE), with reflection at the borders."""
    total = 0.0
    for tap in range(TAPS):
        distance = (tap - TAPS // 2) / sigma
        total += tl.exp(-0.5 * distance * distance)
    for first in range(0, SIZE * SIZE, PIXELS):
        p = first + tl.arange(0, PIXELS)
        inside = p < SIZE * SIZE
        position = p % SIZE if AXIS == 1 else p // SIZE
        for c in tl.static_range(CHANNELS):
            blurred = tl.zeros((PIXELS,), tl.float32)
            for tap in range(TAPS):
                reflected = tl.abs(position + tap - TAPS // 2)
                reflected = SIZE - 1 - tl.abs(SIZE - 1 - reflected)
                distance = (tap - TAPS // 2) / sigma
                q = p + (reflected - position) * AXIS
                value = tl.load(source + c * source_channel + q * source_pixel, mask=inside, other=0.0)
                blurred += tl.exp(-0.5 * distance * distance) / total * value
            tl.store(target + c * target_channel + p * target_pixel, blurred, mask=inside)


@triton.jit
def luma(red, green, blue, CHANNELS: tl.constexpr):
    """Compute the weighted mean of the channels, with the weights of ITU-R BT.601."""
    if CHANNELS == 3:
        level = 0.2989 * red + 0.587 * green + 0.114 * blue
    else:
        level = red
    return level


@triton.jit
def blend(value, base, factor):
    """Interpolate between a base (factor 0) and a value (factor 1), or extrapolate."""
    return clip(value * factor + base * (1 - factor))


@triton.jit
def clip(value):
    """Clip to [0, 1]."""
    return tl.minimum(tl.maximum(value, 0.0), 1.0)


@triton.jit
def load(plane, p, inside, area, CHANNELS: tl.constexpr):
    """Load pixels p of one or three planes."""
    red = tl.load(plane + p, mask=inside, other=0.0)
    green, blue = red, red
    if CHANNELS == 3:
        green = tl.load(plane + area + p, mask=inside, other=0.0)
        blue = tl.load(plane + 2 * area + p, mask=inside, other=0.0)
    return red, green, blue


@triton.jit
def store(plane, p, inside, red, green, blue, channel_stride, pixel_stride, CHANNELS: tl.constexpr):
    """Store pixels p of one or three planes."""
    tl.store(plane + p * pixel_stride, red, mask=inside)
    if CHANNELS == 3:
        tl.store(plane + channel_stride + p * pixel_stride, green, mask=inside)
        tl.store(plane + 2 * channel_stride + p * pixel_stride, blue, mask=inside)
