"""NaN and Inf stop a run before they reach weights, queue, teacher or checkpoint."""

from pathlib import Path

import pytest
import torch
from test_resume import StopAfter, start_run
from tiers import quick
from torch import nn

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.runtime.errors import UserError
from sslzoo.training.loop import TrainingLoop
from sslzoo.training.nonfinite import FiniteCheck, NonFiniteError, require_finite_state, require_loss_scale

NAN, INF = float("nan"), float("inf")


def train_into_nan(training: TrainingLoop, step: int, source: str) -> None:
    """Train with a NaN in a weight or gradient from this step on; store the state before it in `training.before`."""
    train_step, weight = training.train_step, next(training.method.student.parameters())

    def inject_and_train(*arguments: object) -> MethodOutput:
        if training.step + 1 == step:
            if source == "weight":
                with torch.no_grad():
                    weight.view(-1)[0] = NAN
            else:
                weight.register_hook(lambda gradient: gradient * INF)
            training.before = {name: value.clone() for name, value in training.method.state_dict().items()}
        return train_step(*arguments)

    training.train_step = inject_and_train
    with StopAfter(0) as stop:
        training.run(stop)


@pytest.mark.parametrize("source", ["weight", "gradient"])
@pytest.mark.parametrize(
    "flags",
    quick(
        [*(f"--method {name}" for name in METHODS.names()), "--method ascl --accumulate 2"],
        "--method ascl",
        "--method swav",
    ),
)
def test_queue_teacher_and_weights_are_unchanged(
    flags: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = start_run(flags, tmp_path / "run", monkeypatch)
    name = next(name for name, _ in training.method.student.named_parameters())
    with pytest.raises(UserError) as raised:
        train_into_nan(training, 6, source)
    message = str(raised.value)
    assert message.startswith("step 6: ")
    assert f"the gradient of student.{name}" in message or (source == "weight" and "NaN or Inf" in message)
    assert message.endswith(f"the last good checkpoint is step 5 in {tmp_path / 'run'}")
    assert training.checkpoints.newest_step() == 5
    forward_statistics = {
        f"{module}.{buffer}"
        for module, norm in training.method.named_modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm)
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
    }
    for key, value in training.method.state_dict().items():
        if key not in forward_statistics:
            torch.testing.assert_close(value, training.before[key], rtol=0, atol=0, equal_nan=True, msg=key)


def create_output(**parts: torch.Tensor) -> MethodOutput:
    defaults = {"loss": torch.tensor(1.0), "logs": {}, "embeddings": torch.zeros(4, 2), "keys": torch.zeros(4, 2)}
    return MethodOutput(**(defaults | parts))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("part", "name"),
    [("loss", "the loss"), ("embeddings", "the student's embeddings"), ("keys", "the keys")],
)
def test_error_names_the_tensor(part: str, name: str, value: float) -> None:
    bad = torch.zeros(() if part == "loss" else (4, 2))
    bad.view(-1)[-1] = value
    check = FiniteCheck(nn.Linear(2, 2))
    check.check(1, check.compute_flags(create_output(), gradients=True))
    with pytest.raises(NonFiniteError, match=f"^step 7: {name} is NaN or Inf$"):
        check.check(7, check.compute_flags(create_output(**{part: bad}), gradients=True))


def test_gradients_are_not_checked_with_a_scaler() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    model[1].bias.grad[0] = INF
    check = FiniteCheck(model)
    check.check(3, check.compute_flags(create_output(), gradients=False))
    with pytest.raises(NonFiniteError, match=r"^step 3: the gradient of 1\.bias is NaN or Inf$"):
        check.check(3, check.compute_flags(create_output(), gradients=True))


def test_nonfinite_state_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = start_run("--method moco", tmp_path / "run", monkeypatch)
    training.step = 3
    training.method.queue.keys[5, 1] = INF
    with pytest.raises(NonFiniteError, match=r"^step 3: queue\.keys has NaN or Inf$"):
        training.saver.save(training.step)
    assert training.checkpoints.newest_step() == 0
    assert training.saver.describe_newest() == f"no checkpoint yet in {tmp_path / 'run'}"
    require_finite_state(nn.Linear(2, 2), 1)


def test_scaler_without_a_valid_scale_is_an_error() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-9)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight])
    for _ in range(2):
        require_loss_scale(scaler, 4)
        scaler.scale(weight * INF).backward()
        scaler.step(optimizer)
        scaler.update()
    assert weight.item() == 1
    with pytest.raises(NonFiniteError, match=r"^step 4: the gradient overflows in fp16 at every scale of the loss$"):
        require_loss_scale(scaler, 4)
