"""The batched linear probe against torch's optimizer and scikit-learn."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from sslzoo.evaluation.linear import Standardizer, fit_linear
from sslzoo.experiment.evaluation import LinearGrid
from sslzoo.runtime.counter_rng import permutation

GRID = LinearGrid(learning_rates=(0.03, 0.3), weight_decays=(0.0, 1e-2), epochs=6, batch_size=32)


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (100,), generator=generator)
    return torch.randn(100, 5, generator=generator) * 4 + labels[:, None], labels


def test_heads_trained_together_equal_heads_trained_separately(data: tuple[torch.Tensor, torch.Tensor]) -> None:
    together = fit_linear(*data, classes=3, grid=GRID, seed=0)
    for head, setting in enumerate(GRID.settings()):
        grid = GRID.model_copy(update={"learning_rates": (setting["lr"],), "weight_decays": (setting["weight_decay"],)})
        alone = fit_linear(*data, classes=3, grid=grid, seed=0)
        torch.testing.assert_close(together.weight[:, head], alone.weight[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("milestones", [(), (0.5, 0.8)])
def test_heads_agree_with_torch_sgd_and_autograd(
    data: tuple[torch.Tensor, torch.Tensor], milestones: tuple[float, ...]
) -> None:
    features, labels = data
    standardized = Standardizer(features)(features)
    grid = GRID.model_copy(update={"milestones": milestones})
    ours = fit_linear(standardized, labels, classes=3, grid=grid, seed=7)
    x = ((features - features.mean(0)) / features.std(0, correction=0)).double()
    torch.testing.assert_close(standardized.double(), x, atol=1e-5, rtol=1e-5)
    steps = GRID.epochs * math.ceil(len(x) / GRID.batch_size)
    for head, setting in enumerate(GRID.settings()):
        layer = nn.Linear(5, 3).double()
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        groups = [{"params": [layer.weight], "weight_decay": setting["weight_decay"]}, {"params": [layer.bias]}]
        optimizer = torch.optim.SGD(groups, lr=setting["lr"], momentum=0.9, nesterov=True)
        step = 0
        for _ in range(GRID.epochs):
            order = permutation(len(x), 7, step)
            for chosen in order.split(GRID.batch_size):
                for group in optimizer.param_groups:
                    cosine = (1 + math.cos(math.pi * step / steps)) / 2
                    tenths = 10 ** -((step >= 0.5 * steps) + (step >= 0.8 * steps))
                    group["lr"] = setting["lr"] * (tenths if milestones else cosine)
                optimizer.zero_grad()
                F.cross_entropy(layer(x[chosen]), labels[chosen]).backward()
                optimizer.step()
                step += 1
        torch.testing.assert_close(ours.weight[:, head].double(), layer.weight.T, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.bias[head].double(), layer.bias, atol=1e-4, rtol=1e-4)


def test_accuracy_is_close_to_logistic_regression() -> None:
    pixels, classes = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels, dtype=torch.float32), torch.tensor(classes)
    grid = LinearGrid(learning_rates=(0.1,), weight_decays=(1e-3,), epochs=30)
    standardize = Standardizer(x[:900])
    heads = fit_linear(standardize(x[:900]), y[:900], classes=10, grid=grid, seed=0)
    ours = (heads.logits(standardize(x[900:]))[:, 0].argmax(1) == y[900:]).float().mean().item()
    theirs = LogisticRegression(max_iter=2000).fit(pixels[:900] / 16, classes[:900])
    assert ours == pytest.approx(theirs.score(pixels[900:] / 16, classes[900:]), abs=0.03)


def test_constant_features_and_one_label_per_class_are_supported() -> None:
    features = torch.eye(4).repeat(1, 2)
    features[:, 3] = 5.0
    features = Standardizer(features)(features)
    heads = fit_linear(features, torch.arange(4), classes=4, grid=GRID, seed=0)
    logits = heads.logits(features)
    assert torch.isfinite(logits).all()
    assert torch.equal(logits[:, 1].argmax(1)[:3], torch.arange(3))
