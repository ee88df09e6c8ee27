"""Numbers that are not finite stop a run before anything that lasts takes them."""

from pathlib import Path

import pytest
import torch
from test_resume import StopAfter, begin
from tiers import quick
from torch import nn

from sslzoo.method.base import METHODS, MethodOutput
from sslzoo.runtime.errors import UserError
from sslzoo.train.loop import Training
from sslzoo.train.nonfinite import FiniteCheck, NonFiniteError, require_finite_state, require_scale

NAN, INF = float("nan"), float("inf")


def run_into(training: Training, step: int, trouble: str) -> None:
    """Train, with one weight or one gradient NaN from this step on, and keep what there was before it."""
    optimize, weight = training.optimize, next(training.method.student.parameters())

    def meddle(*arguments: object) -> MethodOutput:
        if training.step + 1 == step:
            if trouble == "weight":
                with torch.no_grad():
                    weight.view(-1)[0] = NAN
            else:
                weight.register_hook(lambda gradient: gradient * INF)
            training.before = {name: value.clone() for name, value in training.method.state_dict().items()}
        return optimize(*arguments)

    training.optimize = meddle
    with StopAfter(0) as stop:
        training.run(stop)


@pytest.mark.parametrize("trouble", ["weight", "gradient"])
@pytest.mark.parametrize(
    "flags",
    quick(
        [*(f"--method {name}" for name in METHODS.names()), "--method ascl --accumulate 2"],
        "--method ascl",
        "--method swav",
    ),
)
def test_bank_teacher_and_weights_are_as_before(
    flags: str, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(flags, tmp_path / "run", monkeypatch)
    name = next(name for name, _ in training.method.student.named_parameters())
    with pytest.raises(UserError) as raised:
        run_into(training, 6, trouble)
    told = str(raised.value)
    assert told.startswith("step 6: ")
    assert f"the gradient of student.{name}" in told or (trouble == "weight" and "NaN or Inf" in told)
    assert told.endswith(f"the last good checkpoint is of step 5, in {tmp_path / 'run'}")
    assert training.checkpoints.newest() == 5
    forward_statistics = {
        f"{module}.{buffer}"
        for module, norm in training.method.named_modules()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm)
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
    }
    for key, value in training.method.state_dict().items():
        if key not in forward_statistics:
            torch.testing.assert_close(value, training.before[key], rtol=0, atol=0, equal_nan=True, msg=key)


def output(**parts: torch.Tensor) -> MethodOutput:
    whole = {"loss": torch.tensor(1.0), "logs": {}, "embeddings": torch.zeros(4, 2), "keys": torch.zeros(4, 2)}
    return MethodOutput(**(whole | parts))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("part", "name"),
    [("loss", "the loss"), ("embeddings", "the student's embeddings"), ("keys", "the keys")],
)
def test_the_tensor_is_named(part: str, name: str, value: float) -> None:
    bad = torch.zeros(() if part == "loss" else (4, 2))
    bad.view(-1)[-1] = value
    check = FiniteCheck(nn.Linear(2, 2))
    check.look(1, check.flags(output(), gradients=True))
    with pytest.raises(NonFiniteError, match=f"^step 7: {name} is NaN or Inf$"):
        check.look(7, check.flags(output(**{part: bad}), gradients=True))


def test_gradients_are_left_to_a_scaler() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    model[1].bias.grad[0] = INF
    check = FiniteCheck(model)
    check.look(3, check.flags(output(), gradients=False))
    with pytest.raises(NonFiniteError, match=r"^step 3: the gradient of 1\.bias is NaN or Inf$"):
        check.look(3, check.flags(output(), gradients=True))


def test_state_that_is_not_finite_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = begin("--method moco", tmp_path / "run", monkeypatch)
    training.step = 3
    training.method.queue.keys[5, 1] = INF
    with pytest.raises(NonFiniteError, match=r"^step 3: queue\.keys has NaN or Inf$"):
        training.save()
    assert training.checkpoints.newest() == 0
    assert "no checkpoint is yet in" in training.advice()
    require_finite_state(nn.Linear(2, 2), 1)


def test_a_scaler_that_finds_no_scale_ends_the_run() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-9)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight])
    for _ in range(2):
        require_scale(scaler, 4)
        scaler.scale(weight * INF).backward()
        scaler.step(optimizer)
        scaler.update()
    assert weight.item() == 1
    with pytest.raises(NonFiniteError, match=r"^step 4: the gradient overflows in fp16 at every scale of the loss$"):
        require_scale(scaler, 4)
