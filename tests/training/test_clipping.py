"""Training with clipped gradients: where the norm is taken, what is logged, and what a resumed run keeps."""

from pathlib import Path

import pytest
import torch
from test_resume import StopAfter, create_loop, read_metrics, start_run, train
from torch.nn.utils import get_total_norm

from sslzoo.check.tiny import TinyBackbone
from sslzoo.experiment.compose import compose
from sslzoo.runtime.errors import UserError
from sslzoo.training.loop import TrainingLoop
from sslzoo.training.stop import Interrupted

LR = 0.5
SGD = (
    f"--method moco --optimizer momentum --optimizer.lr {LR} --optimizer.momentum 0 --optimizer.weight-decay 0 "
    "--schedule.warmup-epochs 0"
)
FLAGS = ["--epochs", "3", "--batch-size", "64", "--dataset.limit", "256", "--knn-every", "0", "--threads", "1"]


def run(training: TrainingLoop) -> list[dict[str, float]]:
    """Train to the end, and return the metrics."""
    with StopAfter(0) as stop:
        training.run(stop)
    return read_metrics(training)


def first_update(flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Norm of the change of all weights in the first optimizer step, divided by its learning rate."""
    training = start_run(f"{SGD} {flags}", folder, monkeypatch)
    weights = [p for p in training.method.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in weights]
    training.train_step(training.batches.load_epoch(0), 0)
    return get_total_norm([b - p.detach() for b, p in zip(before, weights, strict=True)]).item() / LR


@pytest.mark.parametrize("accumulate", ["", "--accumulate 4"])
def test_clipping_applies_to_the_accumulated_gradient(
    accumulate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = first_update(accumulate, tmp_path / "plain", monkeypatch)
    clipped = first_update(f"{accumulate} --clip-grad-norm {norm / 2}", tmp_path / "clipped", monkeypatch)
    assert clipped == pytest.approx(norm / 2, rel=1e-4)
    generous = first_update(f"{accumulate} --clip-grad-norm {norm * 1.01}", tmp_path / "generous", monkeypatch)
    assert generous == pytest.approx(norm, rel=1e-6)


def test_clipping_applies_to_the_gradient_of_shared_negatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = "--method simclr --accumulate 4 --gradient-cache"
    norm = first_update(flags, tmp_path / "plain", monkeypatch)
    clipped = first_update(f"{flags} --clip-grad-norm {norm / 2}", tmp_path / "clipped", monkeypatch)
    assert clipped == pytest.approx(norm / 2, rel=1e-4)


def test_each_parameter_is_clipped_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = f"{SGD} --clip-grad-norm 1e-3 --clip-grad-scope parameter"
    training = start_run(flags, tmp_path / "run", monkeypatch)
    weights = [p for p in training.method.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in weights]
    training.train_step(training.batches.load_epoch(0), 0)
    norms = [(b - p.detach()).norm().item() / LR for b, p in zip(before, weights, strict=True)]
    assert max(norms) <= 1e-3 * 1.001
    assert sum(norm > 0.99e-3 for norm in norms) > len(norms) / 2


def test_limit_above_all_norms_changes_no_bit_and_logs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = start_run("--method moco", tmp_path / "plain", monkeypatch)
    clipped = start_run("--method moco --clip-grad-norm 1e6", tmp_path / "clipped", monkeypatch)
    lines, logged = run(plain), run(clipped)
    assert all(0 < line["grad_norm"] < 1e3 for line in lines)
    assert logged == lines
    states = [training.method.state_dict() for training in (plain, clipped)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_stopped_run_continues_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslzoo.training.setup.create_backbone", lambda *_, **__: TinyBackbone())
    experiment = compose([*FLAGS, "--log-every", "3", "--accumulate", "2", "--clip-grad-norm", "0.5"])
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = train(experiment, tmp_path / "whole")
    for step in (1, 5):  # within an interval of metrics
        with pytest.raises(Interrupted):
            train(experiment, tmp_path / "cut", stop_after=step)
    cut = train(experiment, tmp_path / "cut")
    assert read_metrics(whole) == read_metrics(cut)
    assert all("grad_norm" in line for line in read_metrics(whole))
    states = [training.method.state_dict() for training in (whole, cut)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_skipped_steps_of_a_gradient_scaler_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start_run("--method moco --clip-grad-norm 1", tmp_path / "run", monkeypatch)
    means = training.means
    training.train_step(training.batches.load_epoch(0), 0)
    norm = means.compute(training.accelerator)["grad_norm"]
    for value in (float("inf"), float("nan")):
        means.add_gradient_norm(torch.tensor(value))
    assert means.compute(training.accelerator)["grad_norm"] == norm


def test_gradients_are_unscaled_before_they_are_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the scaler of fp16: gradients are scaled until `unscale_gradients`."""
    monkeypatch.setattr("sslzoo.training.setup.create_backbone", lambda *_, **__: TinyBackbone())
    (tmp_path / "run").mkdir()
    training = create_loop(compose([*FLAGS, "--method", "moco", "--clip-grad-norm", "1e6"]), tmp_path / "run")
    trained = [p for p in training.method.parameters() if p.requires_grad]
    accelerator, backward = training.accelerator, training.accelerator.backward
    monkeypatch.setattr(accelerator, "backward", lambda loss: backward(1024 * loss))
    seen = []

    def unscale() -> None:
        seen.append(get_total_norm([p.grad for p in trained]).item())
        for p in trained:
            p.grad /= 1024

    monkeypatch.setattr(accelerator, "unscale_gradients", unscale)
    training.train_step(training.batches.load_epoch(0), 0)
    assert training.means.compute(accelerator)["grad_norm"] == pytest.approx(seen[0] / 1024, rel=1e-5)


@pytest.mark.parametrize("value", ["0", "-1"])
def test_non_positive_limit_is_a_one_line_error(value: str) -> None:
    with pytest.raises(UserError) as error:
        compose(["--clip-grad-norm", value])
    assert "clip" in str(error.value)
    assert "greater than 0" in str(error.value)
    assert "\n" not in str(error.value)
