"""Augmentation on a CPU, compiled by Numba: one image after the other, in the processor's cache.

The operations and parameters are those of the reference, `apply_augmentation` and `normalize` in
`sslzoo.data.augment.view`. Results differ by float32 rounding. Rotation is not implemented here.

Arithmetic is strict IEEE float32. With `fastmath`, a process that compiles and a process that loads the cache would
create different views: the first calls each function as compiled separately, the second calls the copy inlined in
`augment_each`, and the compiler orders their sums differently.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.resample import crop_geometry
from sslzoo.data.batch import AugmentationParameters

Floats = NDArray[np.float32]

compiled = njit(nogil=True, cache=True, error_model="numpy")


def create_views(
    augmentation: Augmentation,
    parameters: AugmentationParameters,
    pixels: Tensor,
    sizes: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Create the normalized views of a batch on the CPU, on as many threads as torch uses.

    Args:
        pixels: (B, C, H, W) uint8, padded as in `Batch`.
        sizes: (B, 2) int64.

    Returns:
        (B, C, size, size) float32.
    """
    assert augmentation.size is not None
    n, channels = pixels.shape[:2]
    views = torch.empty(n, channels, augmentation.size, augmentation.size)
    start, length, scale, offset = crop_geometry(
        augmentation.crop, augmentation.size, augmentation.crop_pct, parameters.box, sizes
    )
    arrays = [
        tensor.contiguous().numpy()  # with one memory layout, so that only one kernel is compiled
        for tensor in (
            pixels, start, length, scale, offset, parameters.flip, parameters.jitter, parameters.order,
            parameters.factors, parameters.grayscale, parameters.blur, parameters.sigma, parameters.solarize, views,
        )
    ]  # fmt: skip
    settings = (
        augmentation.interpolation == "bicubic",
        augmentation.taps,
        np.float32(augmentation.solarize_threshold / 255),
        np.broadcast_to(np.asarray(mean, np.float32), channels).copy(),
        np.broadcast_to(np.asarray(std, np.float32), channels).copy(),
    )
    threads = min(torch.get_num_threads(), n)
    if threads == 1:
        augment_each(*arrays, *settings)
        return views.contiguous(memory_format=memory_format)
    parts = [np.array_split(array, threads) for array in arrays]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: augment_each(*part, *settings), zip(*parts, strict=True)))
    return views.contiguous(memory_format=memory_format)


@compiled
def augment_each(
    pixels, start, length, scale, offset, flip, jitter, order, factors, grayscale, blur, sigma, solarize, views,
    cubic, taps, threshold, mean, std,
):  # fmt: skip
    """Create all views; the arrays are those of `create_views`."""
    n, channels, size, _ = views.shape
    side = max(size, pixels.shape[2], pixels.shape[3])
    wide = channels * side
    one, other = np.empty((side + taps - 1, wide), np.float32), np.empty((side, wide), np.float32)
    kernel = np.empty(taps, np.float32)
    for i in range(n):
        view = views[i]
        resize(pixels[i], start[i], length[i], scale[i], offset[i], flip[i], cubic, one, other, view)
        if jitter[i]:
            for operation in order[i]:
                factor = factors[i, operation]
                if operation == 0:
                    adjust_brightness(view, factor)
                elif operation == 1:
                    adjust_contrast(view, factor)
                elif channels == 3 and operation == 2:
                    adjust_saturation(view, factor)
                elif channels == 3:
                    shift_hue(view, factor)
        if grayscale[i] and channels == 3:
            adjust_saturation(view, np.float32(0))
        if blur[i]:
            gaussian_blur(view, sigma[i], kernel, one, other)
        for c in range(channels):
            low, factor = mean[c], np.float32(1) / std[c]
            plane = view[c]
            if solarize[i]:
                for y in range(size):
                    for x in range(size):
                        value = plane[y, x]
                        plane[y, x] = np.float32(1) - value if value >= threshold else value
            for y in range(size):
                for x in range(size):
                    plane[y, x] = (plane[y, x] - low) * factor


@compiled
def compute_weights(size, length, scale, offset, cubic, first, count, table):
    """Compute antialiased interpolation along one axis: output i is a sum over `count[i]` pixels from `first[i]`."""
    width = max(scale, np.float32(1))
    reach = (np.float32(2) if cubic else np.float32(1)) * width
    for i in range(size):
        center = (i + offset + np.float32(0.5)) * scale
        first[i] = max(0, int(np.ceil(center - reach - np.float32(0.5))))
        count[i] = min(length - 1, int(np.floor(center + reach - np.float32(0.5)))) + 1 - first[i]
        total = np.float32(0)
        for k in range(count[i]):
            x = abs((first[i] + k + np.float32(0.5)) - center) / width
            if not cubic:
                weight = max(np.float32(1) - x, np.float32(0))
            elif x < 1:
                weight = (np.float32(1.5) * x - np.float32(2.5)) * x * x + np.float32(1)
            elif x < 2:
                weight = ((np.float32(-0.5) * x + np.float32(2.5)) * x - np.float32(4)) * x + np.float32(2)
            else:
                weight = np.float32(0)
            table[i, k] = weight
            total += weight
        for k in range(count[i]):
            table[i, k] /= total


@compiled
def combine(lines, first, count, weight, out, n):
    """Compute the first n values of a weighted sum of `count` lines."""
    source, w = lines[first], weight[0]
    for x in range(n):
        out[x] = w * source[x]
    for k in range(1, count):
        source, w = lines[first + k], weight[k]
        for x in range(n):
            out[x] += w * source[x]


@compiled
def resize(image, start, length, scale, offset, flip, cubic, one, other, view):
    """Crop and resize to values in [0, 1]; lines, first columns and then rows, are combined."""
    channels, size, _ = view.shape
    height, width = length
    longest = max(height, width)
    first, count = np.empty((2, size), np.int64), np.empty((2, size), np.int64)
    table = np.empty((2, size, longest), np.float32)
    for axis in range(2):
        compute_weights(size, length[axis], scale[axis], offset[axis], cubic, first[axis], count[axis], table[axis])
    for c in range(channels):
        for y in range(height):
            source, column = image[c, start[0] + y], c * height + y
            for x in range(width):
                one[x, column] = source[start[1] + x] * np.float32(1 / 255)
    for x in range(size):
        line = other[size - 1 - x if flip else x]
        combine(one, first[1, x], count[1, x], table[1, x], line, channels * height)
    for c in range(channels):
        for y in range(height):
            line, column = one[y], c * height + y
            for x in range(size):
                line[c * size + x] = other[x, column]
    for y in range(size):
        line = other[0]
        combine(one, first[0, y], count[0, y], table[0, y], line, channels * size)
        for c in range(channels):
            view[c, y] = line[c * size : (c + 1) * size]
    flat = view.reshape(-1)
    for p in range(flat.size):
        flat[p] = min(max(flat[p], np.float32(0)), np.float32(1))


@compiled
def adjust_brightness(view, factor):
    """Blend with black."""
    flat = view.reshape(-1)
    for p in range(flat.size):
        flat[p] = min(max(flat[p] * factor, np.float32(0)), np.float32(1))


@compiled
def adjust_contrast(view, factor):
    """Blend with the mean luma."""
    flat = view.reshape(len(view), -1)
    total = np.float32(0)
    if len(view) == 3:
        for p in range(flat.shape[1]):
            total += np.float32(0.2989) * flat[0, p] + np.float32(0.587) * flat[1, p] + np.float32(0.114) * flat[2, p]
    else:
        for p in range(flat.shape[1]):
            total += flat[0, p]
    base = total / np.float32(flat.shape[1]) * (np.float32(1) - factor)
    every = view.reshape(-1)
    for p in range(every.size):
        every[p] = min(max(every[p] * factor + base, np.float32(0)), np.float32(1))


@compiled
def adjust_saturation(view, factor):
    """Blend with the luma of each pixel."""
    red, green, blue = view[0].reshape(-1), view[1].reshape(-1), view[2].reshape(-1)
    rest = np.float32(1) - factor
    for p in range(red.size):
        luma = np.float32(0.2989) * red[p] + np.float32(0.587) * green[p] + np.float32(0.114) * blue[p]
        red[p] = min(max(red[p] * factor + luma * rest, np.float32(0)), np.float32(1))
        green[p] = min(max(green[p] * factor + luma * rest, np.float32(0)), np.float32(1))
        blue[p] = min(max(blue[p] * factor + luma * rest, np.float32(0)), np.float32(1))


@compiled
def shift_hue(view, shift):
    """Shift the hue in HSV space by a fraction of the color circle."""
    red, green, blue = view[0].reshape(-1), view[1].reshape(-1), view[2].reshape(-1)
    for p in range(red.size):
        r, g, b = red[p], green[p], blue[p]
        value = max(r, max(g, b))
        chroma = value - min(r, min(g, b))
        inverse = np.float32(1) / max(chroma, np.float32(1e-12))
        by_red = (g - b) * inverse
        by_green = (b - r) * inverse + np.float32(2)
        by_blue = (r - g) * inverse + np.float32(4)
        sixths = by_red if value == r else (by_green if value == g else by_blue)
        h = sixths + np.float32(6) * shift
        h -= np.float32(6) * np.floor(h * np.float32(1 / 6))
        red[p] = value - chroma * (1 - min(max(abs(h - np.float32(3)) - 1, np.float32(0)), np.float32(1)))
        green[p] = value - chroma * (1 - min(max(2 - abs(h - np.float32(2)), np.float32(0)), np.float32(1)))
        blue[p] = value - chroma * (1 - min(max(2 - abs(h - np.float32(4)), np.float32(0)), np.float32(1)))


@compiled
def gaussian_blur(view, sigma, kernel, one, other):
    """Apply a Gaussian blur with reflection at the borders, to columns and then to rows."""
    channels, size, _ = view.shape
    taps = len(kernel)
    half = taps // 2
    total = np.float32(0)
    for k in range(taps):
        z = np.float32(k - half) / sigma
        kernel[k] = np.exp(np.float32(-0.5) * z * z)
        total += kernel[k]
    for k in range(taps):
        kernel[k] /= total
    padded = one.reshape(-1)[: (size + taps - 1) * size].reshape(size + taps - 1, size)
    blurred = other.reshape(-1)[: size * size].reshape(size, size)
    for c in range(channels):
        for y in range(size + taps - 1):
            padded[y] = view[c, reflect(y - half, size)]
        convolve(padded.reshape(-1), kernel, blurred.reshape(-1), size)
        for y in range(size + taps - 1):
            x = reflect(y - half, size)
            for p in range(size):
                padded[y, p] = blurred[p, x]
        convolve(padded.reshape(-1), kernel, blurred.reshape(-1), size)
        for y in range(size):
            for x in range(size):
                view[c, y, x] = blurred[x, y]


@compiled
def convolve(padded, kernel, out, step):
    """Convolve along values that are `step` apart."""
    for p in range(out.size):
        out[p] = kernel[0] * padded[p]
    for k in range(1, len(kernel)):
        weight, source = kernel[k], padded[k * step :]
        for p in range(out.size):
            out[p] += weight * source[p]


@compiled
def reflect(position, size):
    """Reflect a position outside of the image at the outermost pixel; at most once at each end."""
    position = abs(position)
    return size - 1 - abs(size - 1 - position)
