"""Tiny methods and batches for tests."""

import pytest
import torch

from sslzoo import UserError, create_tiny_method, sample_tiny_batch

SWAV = ["--method", "swav", "--method.views", "strong", "strong", "local", "--augmentations.local.size", "6"]


def test_methods_of_the_same_flags_have_equal_weights() -> None:
    first, second = (create_tiny_method(["--method", "byol"]).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("flags", "sizes"), [(["--method", "simclr"], [8, 8]), (["--method", "supcon"], [8, 8]), (SWAV, [8, 8, 6])]
)
def test_batch_has_a_tensor_for_each_view(flags: list[str], sizes: list[int]) -> None:
    batch = sample_tiny_batch(flags)
    assert [tuple(view.shape) for view in batch.views] == [(32, 1, size, size) for size in sizes]
    assert batch.ids.sort().values.tolist() == list(range(32))
    assert batch.labels.shape == (32,)


def test_batches_of_different_seeds_differ() -> None:
    flags = ["--method", "moco"]
    batch, same, other = (sample_tiny_batch(flags, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(batch.views[0], same.views[0])
    assert not torch.equal(batch.views[0], other.views[0])


def test_views_of_an_image_are_similar() -> None:
    first, second = (view.flatten(1) for view in sample_tiny_batch(["--method", "moco"]).views)
    similarities = torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=2)
    assert (similarities.argmax(dim=1) == torch.arange(32)).all()


def test_method_computes_a_loss_with_a_gradient() -> None:
    method, batch = create_tiny_method(["--method", "moco"]), sample_tiny_batch(["--method", "moco"])
    method(batch.views, batch.ids).loss.backward()
    assert all(parameter.grad is not None for parameter in method.student.parameters())


def test_unknown_method_is_an_error() -> None:
    with pytest.raises(UserError, match="--method mocco: no such method"):
        create_tiny_method(["--method", "mocco"])
