"""What the README and the docs tell people to type is taken, and mistakes that they show end as shown."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sslzoo.cli import COMMANDS, main
from sslzoo.comparison.command import plan
from sslzoo.comparison.request import parse_request
from sslzoo.embedding.compose import compose_embedding
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.experiment.compose import compose
from sslzoo.plan.request import parse_request as parse_plan
from sslzoo.preview.request import parse_request as parse_augmentations
from sslzoo.runtime.errors import UserError
from sslzoo.search.request import parse_request as parse_search

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNS = re.compile(r"(?:resume|config|runs|evaluate|card|push|embed) (?:runs/|RUN)|config-PROTOCOL")
"""Commands about a run that is not there."""


def files(page: str) -> dict[str, str]:
    """Blocks of code that open with the name of their file."""
    blocks = re.findall(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return dict(blocks)


def commands(page: str) -> list[str]:
    """What follows run.py, in blocks and in running text, without comments; the tutorial has a test of its own."""
    page = re.sub(r"^## Your first loss.*?^## ", "", page, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"run\.py ([^`\n]+)", re.sub(r"```console\n.*?```", "", page, flags=re.DOTALL))
    return [
        words.partition(" #")[0].replace(" --resume auto", "")
        for words in found
        if words.startswith(("-", *COMMANDS)) and not RUNS.search(words)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_taken(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    for name, content in files(text).items():
        Path(name).write_text(content, encoding="utf-8")
    for command in commands(text):
        words = shlex.split(command)
        if "NAME" in words:
            continue
        if words[0] == "check" or words == ["new"]:
            continue  # the one takes minutes, the other is only mentioned
        if words[0] == "evaluate":
            if len(words) > 1:
                compose_jobs(words[1:])
        elif words[0] == "augmentations":
            parse_augmentations(words[1:])
        elif words[0] == "embed":
            compose_embedding(words[1:])
        elif words[0] == "search":
            if words[2].endswith((".npz", ".parquet")):
                Path(words[2]).touch()
            parse_search(words[1:])
        elif words[0] == "plan":
            parse_plan(words[1:])
        elif words[0] == "compare":
            plan(parse_request(words[1:]))
        elif words[0] in COMMANDS:
            assert main(words) == 0, command
        elif "--help" not in words:
            compose([word for word in words if word != "--print-config"])


@pytest.mark.long
def test_example_of_a_test_passes(tmp_path: Path) -> None:
    for name, content in files((ROOT / "docs/plugins.md").read_text(encoding="utf-8")).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_focal.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_there_is_something_to_check() -> None:
    assert sum(len(commands(page.read_text(encoding="utf-8"))) for page in PAGES) > 30
    assert len(files((ROOT / "docs/plugins.md").read_text(encoding="utf-8"))) >= 4


def test_mistakes_in_the_readme_end_as_shown() -> None:
    shown = re.findall(r"^\$ python run\.py (.*)\nerror: (.*)$", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert len(shown) >= 3
    for words, line in shown:
        with pytest.raises(UserError) as error:
            compose(shlex.split(words))
        assert str(error.value) == line
