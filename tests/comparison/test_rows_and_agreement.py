"""Finished runs are grouped into rows, and rows with incompatible settings are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sslzoo.comparison.command import compare
from sslzoo.comparison.content import list_health_warnings
from sslzoo.comparison.request import parse_request
from sslzoo.comparison.rows import Comparison, check_rows, group_runs, read_run
from sslzoo.comparison.tables import create_settings_table, list_shared_settings
from sslzoo.runtime.errors import UserError

MakeRun = Callable[..., Path]


def test_runs_that_differ_only_in_seed_form_one_row(make_run: MakeRun) -> None:
    paths = [
        make_run("a", ["--method", "moco"], seed=1, knn=0.5),
        make_run("b", ["--method", "moco", "--threads", "2"], seed=0, knn=0.4),
        make_run("c", ["--method", "ascl", "--target", "hard"]),
        make_run("d", ["--method", "ascl", "--target.neighbors", "3"]),
        make_run("e", ["--method", "ascl", "--target.neighbors", "4"]),
    ]
    rows = group_runs([read_run(path) for path in paths])
    assert [row.label for row in rows] == [
        "moco",
        "ascl:hard",
        "ascl target.neighbors=3",
        "ascl target.neighbors=4",
    ]
    assert rows[0].percents("trained", "knn") == {0: 40.0, 1: 50.0}
    assert rows[0].percents("raw pixels", "linear") == {0: 30.0, 1: 30.0}
    check_rows(rows, ())


def test_method_without_pairs_can_be_compared(make_run: MakeRun) -> None:
    rows = group_runs([read_run(make_run(name, ["--method", name])) for name in ("moco", "barlow-twins")])
    check_rows(rows, ())
    assert [row.label for row in rows] == ["moco", "barlow-twins"]
    comparison = Comparison(tuple(rows), rows[0], (), "")
    settings = {row[0].text: [cell.text for cell in row[1:]] for row in create_settings_table(comparison).rows}
    assert settings["target.name"] == ["one-hot", "—"]
    assert settings["method.off_diagonal"] == ["—", "0.2"]
    assert list_shared_settings(comparison)["seeds"] == "0"


def test_augmentation_must_match_only_if_all_rows_use_it(make_run: MakeRun) -> None:
    weak = ["--method", "ascl", "--augmentations.weak.crop-scale", "0.6", "1.0"]
    rows = group_runs([read_run(path) for path in (make_run("a", ["--method", "moco"]), make_run("b", weak))])
    check_rows(rows, ())
    rows += group_runs([read_run(make_run("c", ["--method", "ressl"]))])
    check_rows([rows[0], rows[2]], ())
    with pytest.raises(UserError, match=r"augmentations\.weak\.crop_scale"):
        check_rows(rows[1:], ())


def test_duplicate_run_is_refused(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name, ["--method", "moco"])) for name in "ab"]
    with pytest.raises(UserError, match=r"b: is the same run as .*a, seed 0"):
        group_runs(runs)


@pytest.mark.parametrize(
    ("other", "setting", "values"),
    [
        (["--epochs", "3"], "epochs", ("3", "2")),
        (["--batch-size", "64"], "batch_size", ("64", "128")),
        (["--optimizer.lr", "0.1"], "optimizer.lr", ("0.1", "0.003")),
        (["--augmentations.strong.blur", "0.9"], "augmentations.strong.blur", ("0.9", "0.5")),
        (["--evaluation.draws", "3"], "evaluation.draws", ("3", "20")),
        (["--dataset.limit", "100"], "dataset.limit", ("100", "256")),
    ],
)
def test_other_budget_is_refused_unless_allowed(
    other: list[str], setting: str, values: tuple[str, str], make_run: MakeRun, tmp_path: Path
) -> None:
    paths = [make_run("a", ["--method", "moco"]), make_run("b", ["--method", "ascl", *other])]
    rows = group_runs([read_run(path) for path in paths])
    with pytest.raises(UserError) as error:
        check_rows(rows, ())
    message = (
        f"{tmp_path / 'b'}: {setting} is {values[0]}, and {values[1]} in {tmp_path / 'a'}; it must be equal in all rows"
    )
    assert str(error.value).startswith(message)
    assert "--mixed" in str(error.value)
    check_rows(rows, [setting.replace("_", "-")])


def test_run_without_summary_is_not_finished(make_run: MakeRun) -> None:
    path = make_run("a", ["--method", "moco"])
    (path / "summary.json").unlink()
    with pytest.raises(UserError, match=r"not a finished run \(it has no summary.json\)"):
        compare(parse_request(["--runs", str(path)]))


def test_damaged_summary_is_an_error(make_run: MakeRun) -> None:
    path = make_run("a", ["--method", "moco"])
    (path / "summary.json").write_text("{")
    with pytest.raises(UserError, match=r"summary.json: not readable as JSON"):
        read_run(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"test": {"trained": {"knn": {"accuracy": 1.5}}}}, "test.trained.knn.accuracy = 1.5: input should be less"),
        ({"test": {"trained": {"knn": {"accuracy": None}}}}, "test.trained.knn.accuracy = None: input should be a"),
        ({"test": {"trained": {"linear": {}}}}, "test.trained.linear.accuracy: field required"),
        ({"test": [1]}, r"test = \[1\]: input should be a valid dictionary"),
        ({"train_seconds": "long"}, "train_seconds = 'long': input should be a valid number"),
        ({"train_seconds": float("nan")}, "train_seconds = nan: input should be a finite number"),
        ({"peak_memory": 3}, "peak_memory = 3: input should be a valid dictionary"),
    ],
)
def test_summary_with_invalid_values_is_an_error(make_run: MakeRun, damage: dict[str, object], message: str) -> None:
    path = make_run("run", ["--method", "moco"], **damage)
    with pytest.raises(UserError, match=f"summary.json: is damaged: {message}") as error:
        read_run(path)
    assert "\n" not in str(error.value)


def test_runs_that_were_not_healthy_are_listed(make_run: MakeRun) -> None:
    sick = {"verdict": "divergence", "since": 9, "description": "divergence: loss 80"}
    folders = [
        make_run("old", ["--method", "moco"], seed=0),
        make_run("sick", ["--method", "moco"], seed=1, health=sick),
        make_run("well", ["--method", "moco"], seed=2, health={"verdict": "healthy", "description": "healthy"}),
    ]
    (row,) = group_runs([read_run(folder) for folder in folders])
    assert list_health_warnings(row) == ["moco, seed 1, was not healthy at the end of training: divergence: loss 80"]
