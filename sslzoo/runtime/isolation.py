"""Run work within a process that belongs to someone else, such as a notebook, and leave its global state unchanged."""

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from sslzoo.runtime.allocator import restore_allocator


@contextmanager
def preserve_process() -> Iterator[None]:
    """Start from the state of a new process, and restore that of the caller on exit.

    The state is that of torch (threads, default dtype and device, gradient mode, cuDNN), of the allocator, of
    Accelerate (device, precision and gradient accumulation of the process), of the random generators, of the filters of
    warnings, and of the environment variables.
    """
    with ExitStack() as stack:
        for context in (
            _preserve_environment(),
            warnings.catch_warnings(),
            preserve_random_state(),
            _preserve_torch(),
            _preserve_accelerate(),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            stack.enter_context(context)
        yield


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore the random generators of Python, NumPy and torch on exit."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        for device, state in enumerate(devices):
            if not torch.equal(state, torch.cuda.get_rng_state(device)):
                torch.cuda.set_rng_state(state, device)


@contextmanager
def _preserve_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def _preserve_torch() -> Iterator[None]:
    """Restore threads, allocator, defaults and cuDNN's settings on exit; the default dtype within is float32."""
    threads, dtype, device = torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device()
    deterministic = torch.backends.cudnn.deterministic
    torch.set_default_dtype(torch.float32)
    if device.type != "cpu":
        torch.set_default_device(None)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        if device.type != "cpu":
            torch.set_default_device(device)
        torch.backends.cudnn.deterministic = deterministic
        restore_allocator()


@contextmanager
def _preserve_accelerate() -> Iterator[None]:
    """Reset Accelerate's state of the process, and restore it on exit."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    states = [kind._shared_state for kind in (PartialState, AcceleratorState, GradientState)]
    before = [dict(state) for state in states]
    for state in states:
        state.clear()
    try:
        yield
    finally:
        for state, content in zip(states, before, strict=True):
            state.clear()
            state.update(content)
