"""Tests of the method, on a backbone of one convolution and random images."""

from dataclasses import replace
from pathlib import Path

import torch
from sslzoo.check.tiny import Tiny, run

PLUGIN = str(Path(__file__).with_name("new_method.py"))
TINY = Tiny.of("--plugin", PLUGIN, "--method", "new-method")


def test_each_trainable_parameter_has_a_gradient() -> None:
    method = TINY.method()
    output = run(method, TINY.sample())
    output.loss.backward()
    for name, parameter in method.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name


def test_loss_is_a_scalar_and_embeddings_carry_no_gradient() -> None:
    output = run(TINY.method(), TINY.sample())
    assert output.loss.shape == ()
    assert output.loss.dtype == torch.float32
    assert not output.embeddings.requires_grad
    assert not any(value.requires_grad for value in output.logs.values())


def test_training_lowers_the_loss_of_views_of_the_same_image() -> None:
    method, sample = TINY.method(), TINY.sample()
    optimizer = torch.optim.Adam(method.student.parameters(), lr=0.01)
    losses = []
    for step in range(20):
        output = run(method, sample)
        optimizer.zero_grad()
        output.loss.backward()
        method.after_batch(output)
        optimizer.step()
        method.after_step(step / 20)
        losses.append(output.loss.item())
    assert losses[-1] < 0.8 * losses[0]
    first, second = sample.views
    mismatched = replace(sample, views=[first, second.roll(1, dims=0)])
    assert run(method, mismatched).loss > run(method, sample).loss


def test_loaded_state_dict_gives_the_same_loss() -> None:
    method, other = TINY.method(), TINY.method()
    method.after_batch(run(method, TINY.sample()))
    method.after_step(0.5)
    other.load_state_dict(method.state_dict())
    sample = TINY.sample(seed=1)
    assert torch.equal(run(method, sample).loss, run(other, sample).loss)
