"""Random settings of any name and value compose to an experiment or end in a one-line error.

SSLZOO_FUZZ sets the number of random examples per test; without it, the same few examples are tested each time.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslzoo.evaluation.compose import compose_jobs
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError

FUZZ = os.environ.get("SSLZOO_FUZZ")
EXAMPLES = settings(
    max_examples=int(FUZZ or 40),
    derandomize=FUZZ is None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def list_names(layer: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings and groups."""
    for name, value in layer.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from list_names(value, f"{prefix}{name}.")


NAMES = sorted({name for method in ("ascl", "dino") for name in list_names(compose(["--method", method]).settings())})
SPECIAL = [
    "", "nan", "inf", "-inf", "None", "null", "true", "no", "1e400", "-1", "0", "0x10", "1_000", "[]", "[1, [2]]", "{}",
    "{a: 1}", "*a", "&a", "!!python/name:os.system", "\0", "../..", "strong", "ascl", "digits", "\N{SNOWMAN}", "a b",
]  # fmt: skip

words = st.sampled_from(SPECIAL) | st.text(max_size=8) | st.integers().map(str) | st.floats().map(str)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(SPECIAL) | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def misspell(name: str, place: int, letter: str) -> str:
    """Insert a letter into a name."""
    place %= len(name) + 1
    return name[:place] + letter + name[place:]


names = st.sampled_from(NAMES) | st.builds(
    misspell, st.sampled_from(NAMES), st.integers(0, 40), st.sampled_from("aeiou-_.")
)


def check_composition(arguments: list[str]) -> None:
    """Compose a config that can be written as YAML, or fail with an error that fits into one line."""
    try:
        experiment = compose(arguments)
    except UserError as error:
        message = " ".join(str(error).split())
        assert 5 < len(message) < 2000
        assert "Traceback" not in message
        return
    assert isinstance(experiment, Experiment)
    yaml.safe_load(experiment.as_yaml())


@pytest.mark.long
@EXAMPLES
@given(st.lists(st.tuples(names, st.lists(words, max_size=2)), min_size=1, max_size=3))
def test_random_flags(flags: list[tuple[str, list[str]]]) -> None:
    check_composition([word for name, given_words in flags for word in (f"--{name.replace('_', '-')}", *given_words)])


def nest_settings(settings_of_layer: list[tuple[str, Any]]) -> dict[str, Any]:
    """Nest settings with dotted names into a layer."""
    layer: dict[str, Any] = {}
    for name, value in settings_of_layer:
        *groups, last = name.split(".")
        place = layer
        for group in groups:
            inner = place.setdefault(group, {})
            if not isinstance(inner, dict):
                break
            place = inner
        place[last] = value
    return layer


@EXAMPLES
@given(st.lists(st.tuples(names, values), min_size=1, max_size=4))
def test_random_settings_in_a_file(tmp_path: Path, layer: list[tuple[str, Any]]) -> None:
    (tmp_path / "layer.yaml").write_text(yaml.safe_dump(nest_settings(layer), allow_unicode=True), encoding="utf-8")
    check_composition(["--config", str(tmp_path / "layer.yaml")])


TOP = sorted({name.partition(".")[0] for name in NAMES} | {"by_method", "include", "plugin"})
INNER = ["name", "kwargs", "ascl", "moco", "barlow-twins", "projector", "strong", "target", "method", "by_method"]
groups = st.dictionaries(
    st.sampled_from(TOP), values | st.dictionaries(st.sampled_from(INNER), values | st.dictionaries(names, values))
)


@pytest.mark.long
@EXAMPLES
@given(groups)
def test_random_nesting_in_a_file(tmp_path: Path, layer: dict[str, Any]) -> None:
    (tmp_path / "layer.yaml").write_text(yaml.safe_dump(layer, allow_unicode=True), encoding="utf-8")
    check_composition(["--config", str(tmp_path / "layer.yaml")])
    with contextlib.suppress(UserError):
        compose_jobs(["--backbone", "test_resnet", "--untrained", "--config", str(tmp_path / "layer.yaml")])


@EXAMPLES
@given(st.binary(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>'\"# \n\t0.,", max_size=60).map(str.encode))
def test_random_file_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "layer.yaml").write_bytes(content)
    check_composition(["--config", str(tmp_path / "layer.yaml")])


def test_check_accepts_valid_and_invalid_settings() -> None:
    check_composition(["--epochs", "3"])
    with pytest.raises(UserError):
        compose(["--epochs", "three"])
