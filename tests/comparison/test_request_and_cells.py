"""Arguments of `run.py compare` become cells with composed configs; errors are one line."""

from pathlib import Path

import pytest

from sslzoo.comparison.cells import create_cells
from sslzoo.comparison.command import compare, plan
from sslzoo.comparison.request import parse_request
from sslzoo.config.folders import slugify
from sslzoo.runtime.errors import UserError


def labels(words: str) -> list[str]:
    return list(dict.fromkeys(cell.label for cell in create_cells(parse_request(words.split()))))


def test_cells_are_methods_times_seeds() -> None:
    cells = create_cells(parse_request(["--methods", "moco,ascl:hard", "--seeds", "2", "--epochs", "3"]))
    assert [(cell.label, cell.seed) for cell in cells] == [("moco", 0), ("ascl:hard", 0), ("moco", 1), ("ascl:hard", 1)]
    assert [cell.experiment.seed for cell in cells] == [0, 0, 1, 1]
    assert {cell.experiment.epochs for cell in cells} == {3}
    assert cells[1].experiment.target is not None
    assert cells[1].experiment.target.name == "hard"
    assert cells[1].name == "ascl-hard-seed0"


def test_compare_must_be_a_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="compare: must be a single process, because it starts the runs"):
        parse_request(["--methods", "moco,ascl"])


@pytest.mark.parametrize(("text", "seeds"), [("3", (0, 1, 2)), ("0,4,7", (0, 4, 7)), ("1", (0,))])
def test_seeds_are_a_number_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_request(["--methods", "moco", "--seeds", text]).seeds == seeds


def test_axes_multiply_only_methods_that_have_the_setting() -> None:
    asked = "--methods moco,ascl --vary target.neighbors=1,5 --vary method.queue-size=128,256 --seeds 1"
    cells = {cell.label: cell.experiment for cell in create_cells(parse_request(asked.split()))}
    assert list(cells) == [
        "moco method.queue-size=128",
        "moco method.queue-size=256",
        "ascl target.neighbors=1 method.queue-size=128",
        "ascl target.neighbors=1 method.queue-size=256",
        "ascl target.neighbors=5 method.queue-size=128",
        "ascl target.neighbors=5 method.queue-size=256",
    ]
    chosen = cells["ascl target.neighbors=5 method.queue-size=256"]
    assert (chosen.target.neighbors, chosen.method.queue_size) == (5, 256)  # type: ignore[union-attr,attr-defined]


def test_axis_may_be_a_part_with_all_its_settings() -> None:
    found = labels("--methods moco --vary optimizer=sgd,adamw --optimizer.lr 0.01 --seeds 1")
    assert found == ["moco optimizer=sgd", "moco optimizer=adamw"]
    assert labels("--methods moco --vary optimizer.lr=0.1,0.2 --seeds 1")[0] == "moco optimizer.lr=0.1"


def test_flags_of_a_part_apply_to_methods_that_have_them() -> None:
    cells = create_cells(parse_request(["--methods", "moco,ascl", "--seeds", "1", "--target.neighbors", "7"]))
    assert [getattr(cell.experiment.target, "neighbors", None) for cell in cells] == [None, 7]


def test_labels_become_file_names() -> None:
    assert slugify("ascl:hard target.neighbors=5") == "ascl-hard-target.neighbors=5"
    assert "/" not in slugify("moco backbone.kwargs={a: ../b}")


def test_baseline_is_the_first_or_the_requested_row() -> None:
    assert plan(parse_request(["--methods", "moco,ascl"]))[1] == "moco"
    assert plan(parse_request(["--methods", "moco,ascl", "--baseline", "ascl"]))[1] == "ascl"


ROWS_WITH_OTHER_RATES = "by_method:\n  ascl:\n    optimizer: {lr: 0.5}\n"

INVALID_ARGUMENTS = {
    "": "compare: requires --methods, as in --methods moco,ascl, or --runs",
    "--methods mocco": "--method mocco: no such method; did you mean moco",
    "--methods moco:hrd": "--target hrd: no such target; did you mean hard?",
    "--methods moco:": "--methods moco:: the target after the colon is missing",
    "--methods moco,,ascl": "--methods moco,,ascl: has an empty item",
    "--methods moco,moco": "--methods moco,moco: has moco twice",
    "--methods moco ascl": "compare ascl: does not follow a flag",
    "--methods ascl,ascl:adaptive-soft": "ascl:adaptive-soft: is the same run as ascl",
    "--methods moco --seeds x": "--seeds x: must be a number of seeds",
    "--methods moco --seeds 0": "--seeds 0: must be at least 1",
    "--methods moco --seeds 1,1": "--seeds 1,1: has 1 twice",
    "--methods moco --vary target.neighbors": "--vary target.neighbors: takes a setting and its values",
    "--methods ascl --vary target.neighbor=1,2": "target.neighbor: ascl has no such setting; did you mean "
    "target.neighbors",
    "--methods moco,byol --vary target.neighbors=1,2": "target.neighbors: moco and byol have no such setting",
    "--methods ascl --vary target.neighbors=1,x": "--target.neighbors: 'x' is not a number",
    "--methods ascl --vary target.neighbors=1,1": "--vary target.neighbors= 1,1: has 1 twice",
    "--methods ascl --vary seed=1,2": "--vary seed=1,2: --seeds takes the seeds",
    "--methods ascl --vary target.neighbors=1 --vary target.neighbors=2": "--vary target.neighbors: is given twice",
    "--methods moco,ascl --target.neighbor 3": "target.neighbor: moco and ascl have no such setting",
    "--methods moco,ascl --baseline asc": "--baseline asc: no row has that label; did you mean ascl?",
    "--methods moco --seed 3": "compare --seed: --seeds takes the seeds",
    "--methods moco --run-folder x": "compare --run-folder: --folder is the folder of all runs",
    "--methods moco --epoch 3": "Unrecognized options: --epoch",
    "--methods moco --backbone resnt18": "--backbone resnt18: timm",
    "--methods moco --runs a b": "compare --runs: takes finished runs, so --methods",
    "--runs a b --epochs 3": "compare --runs: takes finished runs, so --epochs",
    "--runs nowhere": "nowhere: not a finished run (it has no config.yaml)",
    "--runs nowhere --vary optimizer.lr=1": "--vary optimizer.lr=1: finished runs already have their values",
    "--methods moco,ascl --config rates.yaml": "ascl: optimizer.lr is 0.5, and 0.003 in moco; it must be equal",
}


@pytest.mark.parametrize("arguments", INVALID_ARGUMENTS)
def test_invalid_argument_is_one_line_error_and_starts_nothing(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rates.yaml").write_text(ROWS_WITH_OTHER_RATES)
    with pytest.raises(UserError) as error:
        compare(parse_request(arguments.split()))
    assert str(error.value).startswith(INVALID_ARGUMENTS[arguments])
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["rates.yaml"]


def test_mixed_allows_rows_to_differ(tmp_path: Path) -> None:
    rates = tmp_path / "rates.yaml"
    rates.write_text(ROWS_WITH_OTHER_RATES)
    assert labels(f"--methods moco,ascl --seeds 1 --config {rates} --mixed") == ["moco", "ascl"]
