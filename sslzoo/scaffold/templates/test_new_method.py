"""Tests of the method, on a backbone of one convolution and random images."""

from pathlib import Path

import torch
from sslzoo import create_tiny_method, sample_tiny_batch

PLUGIN = str(Path(__file__).with_name("new_method.py"))
FLAGS = ["--plugin", PLUGIN, "--method", "new-method"]


def test_each_trainable_parameter_has_a_gradient() -> None:
    method, batch = create_tiny_method(FLAGS), sample_tiny_batch(FLAGS)
    method(batch.views, batch.ids).loss.backward()
    for name, parameter in method.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name


def test_loss_is_a_scalar_and_embeddings_carry_no_gradient() -> None:
    method, batch = create_tiny_method(FLAGS), sample_tiny_batch(FLAGS)
    output = method(batch.views, batch.ids)
    assert output.loss.shape == ()
    assert output.loss.dtype == torch.float32
    assert not output.embeddings.requires_grad
    assert not any(value.requires_grad for value in output.logs.values())


def test_training_lowers_the_loss_of_views_of_the_same_image() -> None:
    method, batch = create_tiny_method(FLAGS), sample_tiny_batch(FLAGS)
    optimizer = torch.optim.Adam(method.student.parameters(), lr=0.01)
    losses = []
    for step in range(20):
        output = method(batch.views, batch.ids)
        optimizer.zero_grad()
        output.loss.backward()
        method.after_batch(output)
        optimizer.step()
        method.after_step(step / 20)
        losses.append(output.loss.item())
    assert losses[-1] < 0.8 * losses[0]
    first, second = batch.views
    mismatched = [first, second.roll(1, dims=0)]
    matched_loss = method(batch.views, batch.ids).loss
    assert method(mismatched, batch.ids).loss > matched_loss


def test_loaded_state_dict_gives_the_same_loss() -> None:
    method, other = create_tiny_method(FLAGS), create_tiny_method(FLAGS)
    batch = sample_tiny_batch(FLAGS)
    method.after_batch(method(batch.views, batch.ids))
    method.after_step(0.5)
    other.load_state_dict(method.state_dict())
    batch = sample_tiny_batch(FLAGS, seed=1)
    loss, other_loss = (m(batch.views, batch.ids).loss for m in (method, other))
    assert torch.equal(loss, other_loss)
