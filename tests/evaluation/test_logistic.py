"""Logistic regression against scikit-learn."""

import pytest
import sklearn.linear_model
import torch
from sklearn.datasets import load_digits

from sslzoo.evaluation.labels import Indices
from sslzoo.evaluation.logistic import LogisticRegression, fit_logistic
from sslzoo.experiment.evaluation import LogisticGrid


@pytest.mark.parametrize("c", [1e-3, 1.0, 10.0])
def test_agrees_with_scikit_learn(c: float) -> None:
    pixels, classes = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(classes)
    weight, bias = fit_logistic(x[:900], y[:900], classes=10, c=c, grid=LogisticGrid(tolerance=1e-8))
    theirs = sklearn.linear_model.LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x[:900].double(), y[:900])
    torch.testing.assert_close(weight, torch.tensor(theirs.coef_.T), atol=1e-3, rtol=0)
    probabilities = (x[900:].double() @ weight + bias).softmax(dim=1)
    expected = torch.tensor(theirs.predict_proba(x[900:].double()))
    torch.testing.assert_close(probabilities, expected, atol=1e-4, rtol=0)
    assert torch.equal(probabilities.argmax(1), torch.tensor(theirs.predict(x[900:].double())))


def test_stops_within_tolerance_by_default() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 20, generator=generator), torch.randint(4, (300,), generator=generator)
    weight, bias = fit_logistic(x, y, classes=4, c=1.0, grid=LogisticGrid())
    weight.requires_grad_()
    loss = torch.nn.functional.cross_entropy(x.double() @ weight + bias, y) + weight.square().sum() / (2 * 300)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() <= 1e-5


def test_each_penalty_is_a_setting() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.eye(3)[y] + torch.randn(60, 3, generator=generator)
    classifier = LogisticRegression(x, y, x[:5], 3, LogisticGrid(c=(0.01, 10.0)))
    indices: Indices = torch.arange(60).numpy()
    assert classifier.predict(indices, indices).shape == (2, 60)
    assert classifier.rank_test(indices, 1).shape == (5, 3)
    assert torch.equal(classifier.rank_test(indices, 1)[:, 0], classifier.predict(indices, indices[:5])[1])
