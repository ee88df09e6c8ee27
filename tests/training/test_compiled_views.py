"""Compiled augmentations train like torch augmentations, up to rounding."""

from pathlib import Path

import pytest
import torch
from test_resume import StopAfter, read_metrics, start_run

from sslzoo.data.augment import numba_kernel


@pytest.mark.long
@pytest.mark.parametrize("method", ["moco", "ascl", "barlow-twins"])
def test_loss_curve_agrees_with_torch_augmentations(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, create_views = [], numba_kernel.create_views
    monkeypatch.setattr(numba_kernel, "create_views", lambda *arguments: calls.append(1) or create_views(*arguments))
    flags = f"--method {method} --precision fp32 --log-every 1"
    flags += " --augmentations.strong.rotate 0 --augmentations.weak.rotate 0 --augmentations.strong.jitter 0.8"
    curves = []
    for more in (False, True):
        training = start_run(f"{flags} --compile-augmentations {more}", tmp_path / f"run-{more}", monkeypatch)
        with StopAfter(0) as stop:
            training.run(stop)
        curves.append([line["loss"] for line in read_metrics(training)])
        assert len(calls) == (24 if more else 0)
    assert torch.tensor(curves).isfinite().all()
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    assert curves[1][0] == pytest.approx(curves[0][0], rel=1e-6)
