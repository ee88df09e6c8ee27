"""A batch in chunks that keeps all its negatives has the gradient of the batch in one."""

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
from sslzoo.train.gradient_cache import accumulate_with_all_negatives, keep_statistics
from sslzoo.train.setup import start_accelerator

ABLE = [name for name, method in METHODS if issubclass(method, InBatchMethod)]
PLAIN = ["--method.projector.norm", "none", "--method.projector.out-norm", "none"]
CHUNKS = 4


def gradients(method: Method) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def in_chunks(method: InBatchMethod, sample: Sample) -> tuple[float, int]:
    """Loss of the step in chunks, and how often a step was finished; the gradient stays in the method."""
    accelerator = create_accelerator("fp32", gradient_accumulation_steps=CHUNKS)
    rows = torch.arange(len(sample.ids)).chunk(CHUNKS)
    chunks = [Batch(torch.empty(0), torch.empty(0), sample.ids[r], sample.labels[r]) for r in rows]
    where = {id(chunk): r for chunk, r in zip(chunks, rows, strict=True)}
    finished = []
    output = accumulate_with_all_negatives(
        accelerator,
        method,
        method,
        chunks,
        views=lambda chunk: [view[where[id(chunk)]] for view in sample.views],
        finish=lambda output: finished.append(accelerator.sync_gradients),
    )
    assert not output.loss.requires_grad
    assert finished[-1]
    return output.loss.item(), len(finished)


@pytest.mark.parametrize("name", ABLE)
def test_the_gradient_is_that_of_the_whole_batch(name: str) -> None:
    tiny = Tiny.of("--method", name, *PLAIN)
    sample = tiny.sample()
    whole, chunks = tiny.method(norm=False), tiny.method(norm=False)
    output = run(whole, sample)
    output.loss.backward()
    loss, finished = in_chunks(chunks, sample)
    assert finished == CHUNKS
    assert loss == pytest.approx(output.loss.item(), abs=1e-6)
    expected = gradients(whole)
    assert expected.keys() == gradients(chunks).keys()
    for key, value in gradients(chunks).items():
        torch.testing.assert_close(value, expected[key], atol=1e-6, rtol=1e-4, msg=key)


def test_plain_accumulation_has_another_gradient() -> None:
    tiny = Tiny.of("--method", "simclr", *PLAIN)
    sample, whole, chunks = tiny.sample(), tiny.method(norm=False), tiny.method(norm=False)
    run(whole, sample).loss.backward()
    for rows in torch.arange(len(sample.ids)).chunk(CHUNKS):
        part = Sample([view[rows] for view in sample.views], sample.ids[rows], sample.labels[rows])
        (run(chunks, part).loss / CHUNKS).backward()
    expected = gradients(whole)
    assert any(not torch.allclose(v, expected[k], atol=1e-4, rtol=1e-2) for k, v in gradients(chunks).items())


def test_batch_norm_counts_each_image_once() -> None:
    tiny = Tiny.of("--method", "simclr")
    method, sample = tiny.method(), tiny.sample()
    with keep_statistics(method):
        run(method, sample)
    assert torch.equal(method.student.backbone[1].running_mean, torch.zeros(16))
    in_chunks(method, sample)
    assert int(method.student.backbone[1].num_batches_tracked) == CHUNKS * len(sample.views)


def test_a_method_that_cannot_is_refused_with_those_that_can() -> None:
    with pytest.raises(UserError, match=r"--gradient-cache: moco does not contrast within the batch; .*simclr.* do"):
        start_accelerator(compose(["--method", "moco", "--gradient-cache"]))


@pytest.mark.long
def test_a_run_trains_with_it_in_half_precision(tmp_path: Path) -> None:
    flags = "--method simclr --epochs 3 --accumulate 4 --gradient-cache --precision bf16 --knn-every 0 --threads 1"
    folder = tmp_path / "run"  # a process of its own, as accelerate fixes the precision of a process
    command = [sys.executable, "-m", "sslzoo", *flags.split(), "--dataset.limit", "256", "--run-folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "backbone.safetensors").is_file()
