"""Images on the device give the same batches and views as the loader."""

import numpy as np
import pytest
import torch

from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.augment.view import create_view
from sslzoo.data.load import load_data
from sslzoo.data.loader import epoch_batches, epoch_shares
from sslzoo.data.resident import ResidentImages
from sslzoo.experiment.compose import compose


@pytest.mark.parametrize("sampled_at_once", [1, 100, 1 << 16])
def test_batches_equal_those_of_the_loader(sampled_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.data.resident.SAMPLED_AT_ONCE", sampled_at_once)
    experiment = compose(["--method", "ascl"])
    images = load_data(experiment.dataset).train
    stacked = images.stacked()
    assert stacked is not None
    resident = ResidentImages(torch.from_numpy(stacked), images)
    augmentation, keys = experiment.augmentation("strong"), {"seed": 3, "epoch": 2, "view": 1}
    order = {"seed": 3, "epoch": 2, "batch_size": 64, "rank": 1, "world": 2}
    shares = epoch_shares(len(images), **order)[4:]
    batches = resident.batches(shares, lambda sizes, ids: (sample_parameters(augmentation, sizes, ids, **keys),))
    count = 0
    for one, other in zip(batches, epoch_batches(images, start=4, **order), strict=True):
        for name in ("pixels", "sizes", "ids", "labels"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        views = [
            create_view(augmentation, batch, seed=3, epoch=2, view=view, mean=(0.5,), std=(0.5,))
            for batch, view in ((one, 0), (other, 1))
        ]
        assert torch.equal(*views)
        count += 1
    assert count == len(shares)


def test_subset_of_a_split_is_stacked() -> None:
    images = load_data(compose([]).dataset).train
    whole, part = images.stacked(), images.subset(np.array([5, 2])).stacked()
    assert whole is not None
    assert part is not None
    assert np.array_equal(part, whole[[5, 2]])
