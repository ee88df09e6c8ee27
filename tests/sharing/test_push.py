"""`push` uploads a run to the Hub, from which timm loads it; the token is not written anywhere."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stand_in import TOKEN, StandIn, run_stand_in
from torch import nn

from sslzoo.cli import main
from sslzoo.sharing import upload

MakeRun = Callable[..., tuple[Path, nn.Module]]


@pytest.fixture
def hub() -> Iterator[StandIn]:
    """A stand-in for the Hub."""
    with run_stand_in() as server:
        yield server


def run(hub: StandIn, home: Path, *words: str | Path, code: str | None = None, **environment: str) -> tuple[int, str]:
    """Run a command, or Python code, in a process that knows the stand-in only; return its status and its output."""
    command = ["-c", code] if code is not None else ["-m", "sslzoo", *map(str, words)]
    settings = {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HOME": str(home),
        "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    variables = os.environ | settings | environment
    done = subprocess.run(
        [sys.executable, *command], env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_pushed_run_is_loaded_from_the_hub(hub: StandIn, make_run: MakeRun, tmp_path: Path) -> None:
    path, backbone = make_run()
    home = tmp_path / "home"
    home.mkdir()
    status, output = run(hub, home, "push", path, "me/digits", "--private", "--license", "mit", "--message", "First")
    assert status == 0, output
    assert f"uploaded  {hub.address}/me/digits" in output
    assert 'timm.create_model("hf-hub:me/digits", pretrained=True)' in output
    assert hub.private == {"me/digits": True}
    assert hub.messages == ["First"]
    files = hub.repositories["me/digits"]
    assert sorted(files) == ["README.md", "config.json", "curves.png", "model.safetensors", "tsne.png"]
    assert b'create_model("hf-hub:me/digits", pretrained=True)' in files["README.md"]
    assert b"OWNER/NAME" not in files["README.md"]
    assert files["model.safetensors"] == (path / "hub" / "model.safetensors").read_bytes()

    images = torch.randn(3, 1, 8, 8)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sslzoo.modules.backbones, timm, torch\n"
        "model = timm.create_model('hf-hub:me/digits', pretrained=True).eval()\n"
        f"features = model(torch.load({str(tmp_path / 'images.pt')!r}))\n"
        "from safetensors.torch import save_file\n"
        f"save_file({{'features': features.detach()}}, {str(tmp_path / 'features.safetensors')!r})\n"
        "print(timm.data.resolve_data_config(model=model)['input_size'])"
    )
    status, output = run(hub, home, code=code)
    assert status == 0, output
    assert output.strip().endswith("(1, 8, 8)")
    with torch.inference_mode():
        expected = backbone(images)
    assert torch.allclose(load_file(tmp_path / "features.safetensors")["features"], expected, atol=1e-6, rtol=0)

    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in written if TOKEN.encode() in file.read_bytes()] == []
    assert not any(TOKEN.encode() in content for content in files.values())

    (path / "hub" / "README.md").write_text("edited")
    status, output = run(hub, home, "push", path, "me/digits")
    assert status == 0, output
    assert files["README.md"] == b"edited"
    status, output = run(hub, home, "push", path, "me/digits", "--license", "mit")
    assert status == 2
    assert "edit its line `license:` instead" in output


@pytest.mark.long
def test_refused_token_and_silent_hub_are_one_line(hub: StandIn, make_run: MakeRun, tmp_path: Path) -> None:
    path, _ = make_run()
    status, output = run(hub, tmp_path, "push", path, "me/digits", HF_TOKEN="hf_wrong")
    assert (status, len(output.strip().splitlines())) == (2, 1), output
    assert output.startswith("error: push me/digits: refused by the Hub: ")
    assert "401" in output
    assert "hf_wrong" not in output
    assert hub.repositories == {}
    status, output = run(hub, tmp_path, "push", path, "me/digits", HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 2, output
    assert output.startswith("error: push me/digits: the Hub could not be reached: ")
    status, output = run(hub, tmp_path, "push", path, "me/digits", HF_HUB_OFFLINE="1")
    assert status == 2, output
    assert output.startswith("error: push me/digits: ")
    assert "Traceback" not in output


def test_invalid_requests_are_one_line(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = make_run()
    monkeypatch.setattr(upload.huggingface_hub, "get_token", lambda: None)
    for words, message in (
        ([str(path), "digits"], "error: push digits: must be OWNER/NAME"),
        ([str(path)], "error: the following arguments are required: OWNER/NAME"),
        ([str(path / "none"), "me/digits"], f"error: push {path / 'none'}: not a run folder"),
        ([str(path), "me/digits", "--privat"], "error: unrecognized arguments: --privat; did you mean --private?"),
        ([str(path), "me/digits"], "error: push me/digits: no token of the Hugging Face Hub; run `hf auth login`"),
    ):
        assert main(["push", *words]) == 2
        assert capsys.readouterr().err.startswith(message)
