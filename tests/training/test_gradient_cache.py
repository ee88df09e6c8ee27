"""Gradient caching: a batch in chunks has the gradient of the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sslzoo.check.tiny import Sample, Tiny, run
from sslzoo.data.batch import Batch
from sslzoo.experiment.compose import compose
from sslzoo.method.base import METHODS, Method
from sslzoo.method.in_batch import InBatchMethod
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import create_accelerator
from sslzoo.training.gradient_cache import accumulate_with_all_negatives, preserve_norm_statistics
from sslzoo.training.setup import start_accelerator

SUPPORTED = [name for name, method in METHODS if issubclass(method, InBatchMethod)]
PLAIN = ["--method.projector.norm", "none", "--method.projector.out-norm", "none"]
CHUNKS = 4


def clone_gradients(method: Method) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def accumulate_chunks(method: InBatchMethod, sample: Sample) -> tuple[float, int]:
    """Accumulate the gradient of a batch in chunks; return the loss and the number of optimizer calls."""
    accelerator = create_accelerator("fp32", gradient_accumulation_steps=CHUNKS)
    rows = torch.arange(len(sample.ids)).chunk(CHUNKS)
    chunks = [Batch(torch.empty(0), torch.empty(0), sample.ids[r], sample.labels[r]) for r in rows]
    rows_of = {id(chunk): r for chunk, r in zip(chunks, rows, strict=True)}
    updates = []
    output = accumulate_with_all_negatives(
        accelerator,
        method,
        method,
        chunks,
        create_views=lambda chunk: [view[rows_of[id(chunk)]] for view in sample.views],
        after_backward=lambda output: updates.append(accelerator.sync_gradients),
    )
    assert not output.loss.requires_grad
    assert updates[-1]
    return output.loss.item(), len(updates)


@pytest.mark.parametrize("name", SUPPORTED)
def test_gradient_equals_that_of_the_whole_batch(name: str) -> None:
    tiny = Tiny.of("--method", name, *PLAIN)
    sample = tiny.sample()
    whole, chunks = tiny.method(norm=False), tiny.method(norm=False)
    output = run(whole, sample)
    output.loss.backward()
    loss, calls = accumulate_chunks(chunks, sample)
    assert calls == CHUNKS
    assert loss == pytest.approx(output.loss.item(), abs=1e-6)
    expected = clone_gradients(whole)
    assert expected.keys() == clone_gradients(chunks).keys()
    for key, value in clone_gradients(chunks).items():
        torch.testing.assert_close(value, expected[key], atol=1e-6, rtol=1e-4, msg=key)


def test_gradient_of_plain_accumulation_differs() -> None:
    tiny = Tiny.of("--method", "simclr", *PLAIN)
    sample, whole, chunks = tiny.sample(), tiny.method(norm=False), tiny.method(norm=False)
    run(whole, sample).loss.backward()
    for rows in torch.arange(len(sample.ids)).chunk(CHUNKS):
        part = Sample([view[rows] for view in sample.views], sample.ids[rows], sample.labels[rows])
        (run(chunks, part).loss / CHUNKS).backward()
    expected = clone_gradients(whole)
    assert any(not torch.allclose(v, expected[k], atol=1e-4, rtol=1e-2) for k, v in clone_gradients(chunks).items())


def test_batch_norm_counts_each_image_once() -> None:
    tiny = Tiny.of("--method", "simclr")
    method, sample = tiny.method(), tiny.sample()
    with preserve_norm_statistics(method):
        run(method, sample)
    assert torch.equal(method.student.backbone[1].running_mean, torch.zeros(16))
    accumulate_chunks(method, sample)
    assert int(method.student.backbone[1].num_batches_tracked) == CHUNKS * len(sample.views)


def test_unsupported_method_is_refused_and_supported_ones_are_listed() -> None:
    with pytest.raises(UserError, match=r"--gradient-cache: moco does not contrast within the batch; .*simclr.* do"):
        start_accelerator(compose(["--method", "moco", "--gradient-cache"]))


@pytest.mark.long
def test_run_trains_with_gradient_cache_in_bf16(tmp_path: Path) -> None:
    flags = "--method simclr --epochs 3 --accumulate 4 --gradient-cache --precision bf16 --knn-every 0 --threads 1"
    folder = tmp_path / "run"  # in a new process, because accelerate sets the precision once per process
    command = [sys.executable, "-m", "sslzoo", *flags.split(), "--dataset.limit", "256", "--run-folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "backbone.safetensors").is_file()
