"""Feature extraction does not change the encoder; measures of collapse have known values."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.evaluation.features import IMAGES_ON_CPU, encode_view, extract_features
from sslzoo.evaluation.representation import effective_rank, embedding_std, measure_separation


def test_extraction_preserves_order_type_and_mode() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout(0.5))
    encoder.train()
    encoder[2].eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    batches = [(torch.randn(n, 3, 2, 2), torch.arange(n)) for n in (4, 3)]
    features, labels = extract_features(encoder, batches, Accelerator(cpu=True))
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert labels.tolist() == [0, 1, 2, 3, 0, 1, 2]
    torch.testing.assert_close(features, torch.cat([x for x, _ in batches]).flatten(1), atol=1e-4, rtol=1e-4)
    assert [module.training for module in encoder] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(("size", "at_once"), [(8, IMAGES_ON_CPU[1]), (128, 16), (512, IMAGES_ON_CPU[0])])
def test_cpu_encodes_few_images_at_once(size: int, at_once: int) -> None:
    counts = []

    def encode(view: Tensor) -> Tensor:
        counts.append(len(view))
        return view.mean((1, 2, 3))[:, None].double()

    view = torch.randn(70, 1, size, size)
    features = encode_view(encode, view, Accelerator(cpu=True))
    assert max(counts) == at_once
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, view.mean((1, 2, 3))[:, None])


def test_encoder_can_be_trained_after_extraction() -> None:
    """Weights moved within inference mode would become inference tensors, which cannot be trained."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.BatchNorm1d(2))
    extract_features(encoder, [(torch.randn(2, 3, 2, 2), torch.arange(2))], Accelerator(cpu=True))
    assert not any(tensor.is_inference() for tensor in encoder.state_dict(keep_vars=True).values())
    encoder(torch.randn(4, 3, 2, 2)).sum().backward()


def test_mode_is_restored_after_an_error() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    encoder = Fails().train()
    with pytest.raises(RuntimeError):
        extract_features(encoder, [(torch.zeros(1, 1, 1, 1), torch.zeros(1))], Accelerator(cpu=True))
    assert encoder.training


def test_measures_of_collapsed_embeddings() -> None:
    same = torch.ones(10, 6)
    assert embedding_std(same).item() == pytest.approx(0, abs=1e-6)
    assert effective_rank(same).item() == pytest.approx(1, abs=1e-4)


def test_measures_of_spread_embeddings() -> None:
    assert effective_rank(torch.eye(7)).item() == pytest.approx(7, rel=1e-5)
    gaussian = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    assert embedding_std(gaussian).item() == pytest.approx(1, abs=0.02)


def test_effective_rank_agrees_with_numpy() -> None:
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1)) * torch.arange(1.0, 9.0)
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    p = singular / singular.sum()
    assert effective_rank(x).item() == pytest.approx(float(np.exp(-(p * np.log(p)).sum())), rel=1e-5)


def test_separation_of_views() -> None:
    generator = torch.Generator().manual_seed(0)
    images, other = torch.randn(2, 500, 16, generator=generator)
    noise = torch.randn(500, 16, generator=generator)
    assert measure_separation(images, images).item() == pytest.approx(4, rel=0.05)  # cosines have std 1 / sqrt(16)
    assert 1 < measure_separation(images, images + noise).item() < 3.5
    assert measure_separation(images, other).item() == pytest.approx(0, abs=0.15)
    assert measure_separation(torch.ones(8, 4), torch.ones(8, 4)).item() == pytest.approx(0, abs=1e-3)
