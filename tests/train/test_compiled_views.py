"""Training with compiled views is training with the views of torch, to rounding."""

from pathlib import Path

import pytest
import torch
from test_resume import StopAfter, begin, metrics

from sslzoo.data.augment import numba_kernel


@pytest.mark.long
@pytest.mark.parametrize("method", ["moco", "ascl", "barlow-twins"])
def test_the_loss_curve_is_that_of_plain_views(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], numba_kernel.make
    monkeypatch.setattr(numba_kernel, "make", lambda *arguments: made.append(1) or make(*arguments))
    flags = f"--method {method} --precision fp32 --log-every 1"
    flags += " --augmentations.strong.rotate 0 --augmentations.weak.rotate 0 --augmentations.strong.jitter 0.8"
    curves = []
    for more in (False, True):
        training = begin(f"{flags} --compile-augmentations {more}", tmp_path / f"run-{more}", monkeypatch)
        with StopAfter(0) as stop:
            training.run(stop)
        curves.append([line["loss"] for line in metrics(training)])
        assert len(made) == (24 if more else 0)
    assert torch.tensor(curves).isfinite().all()
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    assert curves[1][0] == pytest.approx(curves[0][0], rel=1e-6)
