"""Checks of a method together with its target and loss."""

from collections.abc import Callable

import torch
from torch import Tensor

from sslzoo.check.battery import require
from sslzoo.check.tiny import Sample, Tiny, run
from sslzoo.method.base import Method, MethodOutput
from sslzoo.modules.momentum import Teacher


def check_output(tiny: Tiny) -> None:
    """The loss is a float32 scalar, embeddings are (B, D), logs are scalars; only the loss carries a gradient."""
    output = run(create_started_method(tiny), tiny.sample())
    require(output.loss.shape == (), f"the loss has shape {tuple(output.loss.shape)}, not ()")
    require(output.loss.dtype == torch.float32, f"the loss is {output.loss.dtype}, not float32")
    require(output.loss.requires_grad, "the loss carries no gradient")
    require_finite(output, "in the first step")
    rows, images = len(output.embeddings), tiny.images
    require(output.embeddings.dim() == 2, f"embeddings have shape {tuple(output.embeddings.shape)}, not (B, D)")
    require(rows % images == 0, f"{rows} embeddings for {images} images")
    for name, value in {"embeddings": output.embeddings, "keys": output.keys, **output.logs}.items():
        require(value is None or not value.requires_grad, f"{name} carries a gradient, which keeps the graph alive")
    for name, value in output.logs.items():
        require(value.shape == (), f"the log {name} has shape {tuple(value.shape)}, not ()")


def check_gradients(tiny: Tiny) -> None:
    """Every trainable parameter gets a gradient, except those of the momentum encoder."""
    method = create_started_method(tiny)
    torch.autograd.backward(run(method, tiny.sample()).loss)
    teacher_parameters = {
        id(p) for module in method.modules() if isinstance(module, Teacher) for p in module.parameters()
    }
    for name, parameter in method.named_parameters():
        if id(parameter) in teacher_parameters:
            require(parameter.grad is None, f"{name} of the momentum encoder gets a gradient")
        elif parameter.requires_grad:
            require(parameter.grad is not None, f"{name} is trainable but gets no gradient")
    gradients = [p.grad for p in method.student.backbone.parameters() if p.dim() > 1 and p.grad is not None]
    require(any(gradient.abs().sum() > 0 for gradient in gradients), "the gradient that reaches the backbone is zero")


def check_half_precision(tiny: Tiny) -> None:
    """The loss is float32, and loss and gradients are finite, under bf16 and fp16 autocast."""
    for dtype in (torch.bfloat16, torch.float16):
        method = create_started_method(tiny)
        with torch.autocast("cpu", dtype=dtype):
            output = run(method, tiny.sample())
        require(output.loss.dtype == torch.float32, f"the loss is {output.loss.dtype} under {dtype} autocast")
        require_finite_step(method, output, f"under {dtype} autocast")


def check_extreme_inputs(tiny: Tiny) -> None:
    """Loss and gradients are finite if all images are equal, and if their values are huge or zero."""
    sample = tiny.sample()
    equal = Sample([view[:1].expand_as(view).clone() for view in sample.views], sample.ids, sample.labels)
    scaled = {
        f"{factor:g} times the usual values": Sample(
            [factor * view for view in sample.views], sample.ids, sample.labels
        )
        for factor in (0.0, 1e4)
    }
    for norm in (True, False):
        for case, inputs in {"equal images": equal, **scaled}.items():
            method = create_started_method(tiny, norm=norm)
            require_finite_step(method, run(method, inputs), f"with {case}")


def check_batch_order(tiny: Tiny) -> None:
    """The order of the batch does not change the loss of a backbone without (split) batch norm."""
    sample = tiny.sample()
    order = torch.randperm(tiny.images, generator=torch.Generator().manual_seed(1))
    other = Sample([view[order] for view in sample.views], sample.ids[order], sample.labels[order])
    a, b = (run(create_started_method(tiny, norm=False), images).loss.item() for images in (sample, other))
    require(abs(a - b) <= 1e-4 * max(1, abs(a)), f"the loss is {a:.6f}, and {b:.6f} in another order")


def check_state_dict(tiny: Tiny) -> None:
    """A copy loaded from the `state_dict` after some steps has the same loss; no tensor is stored twice."""
    method = create_started_method(tiny)
    for step in range(2):
        output = run(method, tiny.sample(seed=step))
        torch.autograd.backward(output.loss)
        method.after_batch(output)
        method.after_step(0.5)
    state = method.state_dict()
    seen: dict[tuple[int, tuple[int, ...]], str] = {}
    for name, value in state.items():
        if value.numel():
            other = seen.setdefault((value.data_ptr(), tuple(value.shape)), name)
            require(other == name, f"{other} and {name} are one tensor, which a checkpoint stores only once")
    copy = tiny.method()
    copy.load_state_dict(state)
    a, b = run(method, tiny.sample(seed=9)).loss.item(), run(copy, tiny.sample(seed=9)).loss.item()
    require(a == b, f"the loss is {a}, and {b} after state_dict() and load_state_dict()")


CHECKS: dict[str, Callable[[Tiny], None]] = {
    "shapes": check_output,
    "gradients reach the student, never the teacher": check_gradients,
    "finite in bf16 and fp16": check_half_precision,
    "finite at extreme similarities": check_extreme_inputs,
    "order of the batch": check_batch_order,
    "state_dict round trip": check_state_dict,
}


def create_started_method(tiny: Tiny, *, norm: bool = True) -> Method:
    """Create a method at the beginning of its second epoch; some, such as DeepCluster, have no loss in the first."""
    method = tiny.method(norm=norm)
    method.before_epoch(0)
    with torch.no_grad():
        method.after_batch(run(method, tiny.sample(seed=99)))
    method.before_epoch(1)
    return method


def require_finite_step(method: Method, output: MethodOutput, where: str) -> None:
    """Require a finite loss and finite logs and gradients.

    Raises:
        CheckError: one has NaN or Inf.
    """
    require_finite(output, where)
    torch.autograd.backward(output.loss)
    gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    for name, gradient in gradients.items():
        require(_is_finite(gradient), f"the gradient of {name} has NaN or Inf {where}")


def require_finite(output: MethodOutput, where: str) -> None:
    """Require a finite loss and finite logs.

    Raises:
        CheckError: one is NaN or Inf.
    """
    for name, value in {"loss": output.loss, **output.logs}.items():
        require(_is_finite(value), f"the {name} is {value.item()} {where}")


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())
