"""Split batch norm, residual sum and ReLU by Triton kernels, run by Triton's interpreter, against float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

kernels = pytest.importorskip("sslzoo.modules.triton_batch_norm", reason="Triton is not installed")


def compute_reference(
    x: Tensor,
    dy: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    splits: int,
    relu: bool,
    residual: Tensor | None = None,
) -> list[Tensor]:
    """Compute output, gradients of all inputs, and running statistics chunk by chunk in float64."""
    image, *others = [None if p is None else p.double().requires_grad_() for p in (x, weight, bias, residual)]
    outputs, means, variances = [], [], []
    for chunk in image.chunk(splits):
        mean, variance = torch.zeros(x.shape[1]).double(), torch.ones(x.shape[1]).double()
        outputs.append(F.batch_norm(chunk, mean, variance, *others[:2], True, 0.1, 1e-5))
        means.append(mean)
        variances.append(variance)
    y = torch.cat(outputs)
    y = y if residual is None else y + others[2]
    y = y.relu() if relu else y
    y.backward(dy.double())
    gradients = [image.grad, *(p.grad for p in others if p is not None)]
    return [y.detach(), *gradients, torch.stack(means).mean(0), torch.stack(variances).mean(0)]


def run_kernel(
    x: Tensor,
    dy: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    splits: int,
    relu: bool,
    residual: Tensor | None = None,
) -> list[Tensor]:
    """Compute the same results with the kernels."""
    inputs = [None if p is None else p.clone().requires_grad_() for p in (x, weight, bias, residual)]
    mean, variance, batches = torch.zeros(x.shape[1]), torch.ones(x.shape[1]), torch.tensor(6)
    y = kernels.split_batch_norm(
        *inputs[:3], mean, variance, splits=splits, momentum=0.1, eps=1e-5, relu=relu, residual=inputs[3],
        batches=batches,
    )  # fmt: skip
    y.backward(dy)
    assert y.dtype == inputs[0].grad.dtype == x.dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert int(batches) == 7
    return [y.detach(), *(p.grad for p in inputs if p is not None), mean, variance]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("shape", "splits"),
    [((16, 5, 6, 6), 4), ((16, 5, 6, 6), 1), ((8, 130, 9, 9), 2), ((12, 32, 8, 8), 3), ((4, 16, 1, 1), 2)],
)
def test_float32_equals_the_reference(shape: tuple[int, ...], splits: int, relu: bool) -> None:
    torch.manual_seed(0)
    x = (2 * torch.randn(shape) + 1).to(memory_format=torch.channels_last)
    arguments = x, torch.randn(shape), torch.randn(shape[1]), torch.randn(shape[1]), splits, relu
    for one, other in zip(run_kernel(*arguments), compute_reference(*arguments), strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("shape", "splits"), [((16, 5, 6, 6), 4), ((8, 130, 9, 9), 2), ((12, 32, 8, 8), 3)])
def test_residual_sum_equals_the_reference(shape: tuple[int, ...], splits: int) -> None:
    torch.manual_seed(0)
    x, dy, residual = (torch.randn(shape) for _ in range(3))
    arguments = x, dy, torch.randn(shape[1]), torch.randn(shape[1]), splits, True, residual
    for one, other in zip(run_kernel(*arguments), compute_reference(*arguments), strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=2e-5)


def test_residual_sum_requires_relu() -> None:
    x = torch.randn(4, 2, 3, 3)
    with pytest.raises(ValueError, match="residual"):
        run_kernel(x, x, None, None, 1, False, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_results_are_rounded_once(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    shape = (8, 64, 16, 16)
    x, dy = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    arguments = x, dy, torch.randn(64), torch.randn(64), 4, True
    ours, exact = run_kernel(*arguments), compute_reference(*arguments)
    for one, other in zip(ours[:2], exact[:2], strict=True):
        assert (one.double() - other).norm() / other.norm() < 2 * torch.finfo(dtype).eps
    for one, other in zip(ours[2:], exact[2:], strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-3, rtol=1e-4)


def test_mean_far_from_zero_keeps_precision() -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 8, 4, 4) + 1000
    arguments = x, torch.randn_like(x), None, None, 2, False
    y, dx, *_ = run_kernel(*arguments)
    exact, gradient, *_ = compute_reference(*arguments)
    torch.testing.assert_close(y.double(), exact, atol=1e-3, rtol=0)
    torch.testing.assert_close(dx.double(), gradient, atol=1e-3, rtol=0)


def test_results_are_bit_identical_for_any_memory_format() -> None:
    torch.manual_seed(0)
    x, dy = torch.randn(8, 6, 5, 5), torch.randn(8, 6, 5, 5)
    arguments = torch.ones(6), torch.zeros(6), 2, True
    once, again = run_kernel(x, dy, *arguments), run_kernel(x.to(memory_format=torch.channels_last), dy, *arguments)
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))


@pytest.mark.parametrize("channels", [3, 64, 512])
@pytest.mark.parametrize("rows", [1, 500, 512, 65536, 400_000])
@pytest.mark.parametrize("splits", [1, 8])
def test_every_program_has_rows(channels: int, rows: int, splits: int) -> None:
    layout = kernels._layout(channels, rows, splits)
    per_part = layout["TILES"] * layout["ROWS"]
    assert (layout["PARTS"] - 1) * per_part < rows <= layout["PARTS"] * per_part
