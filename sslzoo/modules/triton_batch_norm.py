"""Split batch norm with an optional residual sum and ReLU, as Triton kernels on channels_last activations.

A batch (B, C, H, W) is treated as rows of C values; a chunk is a range of consecutive rows. With mean m and variance v
of a chunk's channel, y = relu(w (x - m) / sqrt(v + eps) + b + residual) (Ioffe and Szegedy, ICML 2015, algorithm 1; He
et al., CVPR 2016, equation 1). The forward pass reads an activation twice and writes it once; the backward pass reads
it and its gradient twice. Sums are float32 in a fixed order, so results are bit-identical for the same input. Sums of
squares are centered at the first row of each chunk, which keeps precision if the mean is far from zero.

Kernels that sum start with the last rows, which a convolution has just written and are still in the cache; the kernels
after them start with the first rows.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048
"""Values of each activation that a program holds in registers at once."""
STAGES = tl.constexpr(3)
"""Tiles that are loaded ahead."""
CHANNELS = 64
"""Largest number of channels per program."""
PROGRAMS = 1024
"""Approximate number of programs, enough to keep a GPU busy."""
FINAL_CHANNELS = 4
"""Channels per program that combines partial sums."""


def split_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    splits: int,
    momentum: float,
    eps: float,
    relu: bool,
    residual: Tensor | None = None,
    batches: Tensor | None = None,
) -> Tensor:
    """Normalize each of `splits` chunks of a batch by its own statistics, in training.

    Args:
        x: (B, C, H, W), B a multiple of `splits`; converted to channels_last if needed.
        weight: (C,) float32, `bias` likewise.
        running_mean: (C,) float32, `running_var` likewise; updated with `momentum` towards the mean over chunks.
        relu: whether ReLU follows.
        residual: (B, C, H, W), added before the ReLU; requires `relu`.
        batches: () int64, number of batches so far; incremented.

    Returns:
        (B, C, H, W) channels_last, with the dtype of x.
    """
    if residual is not None and not relu:
        raise ValueError("a residual sum without ReLU is not supported")
    normalized: Tensor = _SplitBatchNorm.apply(
        x, residual, weight, bias, running_mean, running_var, batches, splits, momentum, eps, relu
    )  # fmt: skip
    return normalized


class _SplitBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        batches: Tensor | None,
        splits: int,
        momentum: float,
        eps: float,
        relu: bool,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if residual is not None:
            residual = residual.to(x.dtype).contiguous(memory_format=torch.channels_last)
        channels, rows = x.shape[1], x.numel() // x.shape[1] // splits
        layout = _layout(channels, rows, splits)
        grid = _grid(layout, channels, splits)
        sums = x.new_empty((2, splits, layout["PARTS"], channels), dtype=torch.float32)
        mean, rstd = x.new_empty((2, splits, channels), dtype=torch.float32)
        sum_chunks[grid](x, sums, channels, rows, **layout)
        combine_statistics[(triton.cdiv(channels, FINAL_CHANNELS),)](
            x, sums, mean, rstd, running_mean, running_var, batches, channels, rows, momentum, eps,
            **_final_layout(splits, layout["PARTS"]),
        )  # fmt: skip
        y = torch.empty_like(x)
        normalize[grid](x, residual, mean, rstd, weight, bias, y, channels, rows, RELU=relu, **layout)
        ctx.save_for_backward(x, y if residual is not None else None, weight, bias, mean, rstd)
        ctx.layout, ctx.splits, ctx.relu = layout, splits, relu
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, y, weight, bias, mean, rstd = ctx.saved_tensors
        layout, splits, relu = ctx.layout, ctx.splits, ctx.relu
        dy = gradients[0].contiguous(memory_format=torch.channels_last)
        channels, parts = x.shape[1], layout["PARTS"]
        rows = x.numel() // channels // splits
        sums = x.new_empty((2, splits, parts, channels), dtype=torch.float32)
        means = x.new_empty((2, splits, channels), dtype=torch.float32)
        dweight, dbias = x.new_empty((2, channels), dtype=torch.float32)
        dresidual = None if y is None else torch.empty_like(x)
        grid = _grid(layout, channels, splits)
        sum_gradients[grid](
            x, dy, y, mean, rstd, weight, bias, sums, dresidual, channels, rows, RELU=relu, **layout
        )  # fmt: skip
        combine_gradients[(triton.cdiv(channels, FINAL_CHANNELS),)](
            sums, means, dweight, dbias, channels, rows,
            **_final_layout(splits, parts),
        )  # fmt: skip
        if dresidual is not None:  # it is the gradient before the ReLU
            dy, relu = dresidual, False
        dx = torch.empty_like(x)
        propagate[grid](x, dy, mean, rstd, weight, bias, means, dx, channels, rows, RELU=relu, **layout)
        affine = (None, None) if weight is None else (dweight, dbias)
        return dx, dresidual, *affine, None, None, None, None, None, None, None


def _grid(layout: dict[str, int], channels: int, splits: int) -> tuple[int, int]:
    """Return the number of programs along rows and channels."""
    return splits * layout["PARTS"], triton.cdiv(channels, layout["C_BLOCK"])


def _layout(channels: int, rows: int, splits: int) -> dict[str, int]:
    """Divide the rows of a chunk and the channels among programs."""
    c_block = min(CHANNELS, triton.next_power_of_2(channels))
    tile_rows = TILE // c_block
    wanted = max(1, PROGRAMS // (splits * triton.cdiv(channels, c_block)))
    parts = max(1, min(wanted, triton.cdiv(rows, tile_rows)))
    tiles = triton.cdiv(triton.cdiv(rows, tile_rows), parts)
    parts = triton.cdiv(rows, tiles * tile_rows)  # no part is empty
    return {"PARTS": parts, "TILES": tiles, "ROWS": tile_rows, "C_BLOCK": c_block, "num_warps": 4}


def _final_layout(splits: int, parts: int) -> dict[str, int]:
    """Return the constants of the programs that combine the partial sums."""
    return {
        "SPLITS": splits,
        "SPLITS_BLOCK": triton.next_power_of_2(splits),
        "PARTS": parts,
        "PARTS_BLOCK": triton.next_power_of_2(parts),
        "C_BLOCK": FINAL_CHANNELS,
        "num_warps": 8,
    }


@triton.jit
def sum_chunks(
    x, sums, channels, rows,
    PARTS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, C_BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute sum and sum of squares of a part of a chunk, centered at the chunk's first row."""
    chunk, part = last_part_first(PARTS)
    c = tl.program_id(1) * C_BLOCK + tl.arange(0, C_BLOCK)
    base = x + chunk.to(tl.int64) * rows * channels
    pivot = tl.load(base + c, mask=c < channels, other=0.0).to(tl.float32)
    first = tl.zeros((ROWS, C_BLOCK), tl.float32)
    second = tl.zeros((ROWS, C_BLOCK), tl.float32)
    for tile in tl.range(TILES, num_stages=STAGES):
        r = (part * TILES + tile) * ROWS + tl.arange(0, ROWS)
        inside = (r < rows)[:, None] & (c < channels)[None, :]
        value = tl.load(base + r[:, None] * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
        distance = tl.where(inside, value - pivot[None, :], 0.0)
        first += distance
        second += distance * distance
    place = (chunk * PARTS + part) * channels + c
    tl.store(sums + place, tl.sum(first, axis=0), mask=c < channels)
    size = tl.num_programs(0) * channels
    tl.store(sums + size + place, tl.sum(second, axis=0), mask=c < channels)


@triton.jit
def combine_statistics(
    x, sums, mean, rstd, running_mean, running_var, batches, channels, rows, momentum, eps,
    SPLITS: tl.constexpr, SPLITS_BLOCK: tl.constexpr, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr,
    C_BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute mean and reciprocal deviation of each chunk and the running statistics from the partial sums."""
    c = tl.program_id(0) * C_BLOCK + tl.arange(0, C_BLOCK)
    chunk = tl.arange(0, SPLITS_BLOCK)
    exists = (chunk < SPLITS)[:, None] & (c < channels)[None, :]
    first = add_parts(sums, c, channels, SPLITS, SPLITS_BLOCK, PARTS, PARTS_BLOCK, C_BLOCK) / rows
    second = add_parts(
        sums + SPLITS * PARTS * channels, c, channels, SPLITS, SPLITS_BLOCK, PARTS, PARTS_BLOCK, C_BLOCK
    ) / rows  # fmt: skip
    start = chunk.to(tl.int64)[:, None] * rows * channels + c[None, :]
    center = tl.load(x + start, mask=exists, other=0.0).to(tl.float32) + first
    variance = tl.maximum(second - first * first, 0.0)
    place = chunk[:, None] * channels + c[None, :]
    tl.store(mean + place, center, mask=exists)
    tl.store(rstd + place, 1 / tl.sqrt(variance + eps), mask=exists)
    if running_mean is not None:
        before = tl.load(running_mean + c, mask=c < channels, other=0.0)
        now = tl.sum(tl.where(exists, center, 0.0), axis=0) / SPLITS
        tl.store(running_mean + c, before + momentum * (now - before), mask=c < channels)
        unbiased = tl.where(exists, variance, 0.0) * (rows / tl.maximum(rows - 1, 1))
        before = tl.load(running_var + c, mask=c < channels, other=0.0)
        now = tl.sum(unbiased, axis=0) / SPLITS
        tl.store(running_var + c, before + momentum * (now - before), mask=c < channels)
    if batches is not None:
        first_program = tl.program_id(0) == 0
        tl.store(batches, tl.load(batches, mask=first_program) + 1, mask=first_program)


@triton.jit
def normalize(
    x, residual, mean, rstd, weight, bias, y, channels, rows,
    RELU: tl.constexpr, PARTS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, C_BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalize a part of a chunk, and add the residual."""
    chunk, part = tl.program_id(0) // PARTS, tl.program_id(0) % PARTS
    c = tl.program_id(1) * C_BLOCK + tl.arange(0, C_BLOCK)
    offset = chunk.to(tl.int64) * rows * channels
    center, scale, shift = affine(mean, rstd, weight, bias, chunk * channels, c, channels)
    for tile in tl.range(TILES, num_stages=STAGES):
        r = (part * TILES + tile) * ROWS + tl.arange(0, ROWS)
        inside = (r < rows)[:, None] & (c < channels)[None, :]
        place = offset + r[:, None] * channels + c[None, :]
        value = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - center) * scale + shift
        if residual is not None:
            value += tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
        if RELU:
            value = tl.maximum(value, 0.0)
        tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def sum_gradients(
    x, dy, y, mean, rstd, weight, bias, sums, dresidual, channels, rows,
    RELU: tl.constexpr, PARTS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, C_BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the gradient and its product with the normalized value over a part of a chunk.

    With a residual, the ReLU's input was positive where its output y is, and the gradient before the ReLU is written.
    """
    chunk, part = last_part_first(PARTS)
    c = tl.program_id(1) * C_BLOCK + tl.arange(0, C_BLOCK)
    offset = chunk.to(tl.int64) * rows * channels
    center, scale, shift = affine(mean, rstd, weight, bias, chunk * channels, c, channels)
    inverse = tl.load(rstd + chunk * channels + c, mask=c < channels, other=0.0)
    plain = tl.zeros((ROWS, C_BLOCK), tl.float32)
    product = tl.zeros((ROWS, C_BLOCK), tl.float32)
    for tile in tl.range(TILES, num_stages=STAGES):
        r = (part * TILES + tile) * ROWS + tl.arange(0, ROWS)
        inside = (r < rows)[:, None] & (c < channels)[None, :]
        place = offset + r[:, None] * channels + c[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - center
        gradient = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
        if dresidual is not None:
            gradient = tl.where(tl.load(y + place, mask=inside, other=0.0).to(tl.float32) > 0, gradient, 0.0)
            tl.store(dresidual + place, gradient.to(dresidual.dtype.element_ty), mask=inside)
        elif RELU:
            gradient = tl.where(value * scale + shift > 0, gradient, 0.0)
        plain += gradient
        product += gradient * (value * inverse[None, :])
    place = (chunk * PARTS + part) * channels + c
    tl.store(sums + place, tl.sum(plain, axis=0), mask=c < channels)
    size = tl.num_programs(0) * channels
    tl.store(sums + size + place, tl.sum(product, axis=0), mask=c < channels)


@triton.jit
def combine_gradients(
    sums, means, dweight, dbias, channels, rows,
    SPLITS: tl.constexpr, SPLITS_BLOCK: tl.constexpr, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr,
    C_BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the means over each chunk and the gradients of weight and bias from the partial sums."""
    c = tl.program_id(0) * C_BLOCK + tl.arange(0, C_BLOCK)
    chunk = tl.arange(0, SPLITS_BLOCK)
    exists = (chunk < SPLITS)[:, None] & (c < channels)[None, :]
    plain = add_parts(sums, c, channels, SPLITS, SPLITS_BLOCK, PARTS, PARTS_BLOCK, C_BLOCK)
    product = add_parts(
        sums + SPLITS * PARTS * channels, c, channels, SPLITS, SPLITS_BLOCK, PARTS, PARTS_BLOCK, C_BLOCK
    )  # fmt: skip
    place = chunk[:, None] * channels + c[None, :]
    tl.store(means + place, plain / rows, mask=exists)
    tl.store(means + SPLITS * channels + place, product / rows, mask=exists)
    tl.store(dbias + c, tl.sum(plain, axis=0), mask=c < channels)
    tl.store(dweight + c, tl.sum(product, axis=0), mask=c < channels)


@triton.jit
def propagate(
    x, dy, mean, rstd, weight, bias, means, dx, channels, rows,
    RELU: tl.constexpr, PARTS: tl.constexpr, TILES: tl.constexpr, ROWS: tl.constexpr, C_BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the input gradient of a part of a chunk."""
    chunk, part = tl.program_id(0) // PARTS, tl.program_id(0) % PARTS
    c = tl.program_id(1) * C_BLOCK + tl.arange(0, C_BLOCK)
    offset = chunk.to(tl.int64) * rows * channels
    center, scale, shift = affine(mean, rstd, weight, bias, chunk * channels, c, channels)
    inverse = tl.load(rstd + chunk * channels + c, mask=c < channels, other=0.0)
    plain = tl.load(means + chunk * channels + c, mask=c < channels, other=0.0)
    size = tl.num_programs(0) // PARTS * channels
    product = tl.load(means + size + chunk * channels + c, mask=c < channels, other=0.0)
    for tile in tl.range(TILES, num_stages=STAGES):
        r = (part * TILES + tile) * ROWS + tl.arange(0, ROWS)
        inside = (r < rows)[:, None] & (c < channels)[None, :]
        place = offset + r[:, None] * channels + c[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - center
        gradient = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
        if RELU:
            gradient = tl.where(value * scale + shift > 0, gradient, 0.0)
        normalized = value * inverse[None, :]
        result = scale * (gradient - plain[None, :] - normalized * product[None, :])
        tl.store(dx + place, result.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def last_part_first(PARTS: tl.constexpr):
    """Return the chunk and the part of this program, in the opposite order of the programs."""
    number = tl.num_programs(0) - 1 - tl.program_id(0)
    return number // PARTS, number % PARTS


@triton.jit
def affine(mean, rstd, weight, bias, start, c, channels):
    """Load the coefficients that normalize a chunk: (x - center) * scale + shift."""
    center = tl.load(mean + start + c, mask=c < channels, other=0.0)
    scale = tl.load(rstd + start + c, mask=c < channels, other=0.0)
    shift = tl.zeros_like(center)
    if weight is not None:
        scale *= tl.load(weight + c, mask=c < channels, other=0.0)
        shift = tl.load(bias + c, mask=c < channels, other=0.0)
    return center[None, :], scale[None, :], shift[None, :]


@triton.jit
def add_parts(
    sums, c, channels,
    SPLITS: tl.constexpr, SPLITS_BLOCK: tl.constexpr, PARTS: tl.constexpr, PARTS_BLOCK: tl.constexpr,
    C_BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum (splits, parts, channels) over the parts, for channels c."""
    chunk = tl.arange(0, SPLITS_BLOCK)[:, None, None]
    part = tl.arange(0, PARTS_BLOCK)[None, :, None]
    exists = (chunk < SPLITS) & (part < PARTS) & (c < channels)[None, None, :]
    values = tl.load(sums + (chunk * PARTS + part) * channels + c[None, None, :], mask=exists, other=0.0)
    return tl.sum(values, axis=1)
