"""Shared files contain no name of the user in paths."""

from pathlib import Path

import pytest

from sslzoo.runtime.paths import shorten_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/data/x.png", "~/data/x.png"),
        ("/home/ann/work/runs/a", "./runs/a"),
        ("--path /home/ann/work --runs /home/ann", "--path . --runs ~"),
        ("--path=/home/ann/data", "--path=~/data"),
        ("/home/anna/data", "/home/anna/data"),
        ("/mnt/home/ann/data", "/mnt/home/ann/data"),
        ("runs/a", "runs/a"),
    ],
)
def test_home_and_working_folder_are_shortened(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/ann/work"))
    assert shorten_paths(text) == expected


def test_root_folder_is_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    monkeypatch.setattr(Path, "cwd", lambda: Path("/"))
    assert shorten_paths("/data/x /") == "/data/x /"
