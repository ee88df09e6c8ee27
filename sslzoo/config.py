"""The strict base of every setting, and the YAML layers that settings are read from."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from tyro.constructors import PrimitiveConstructorSpec

from sslzoo.errors import UserError, near_misses, shown

Layer = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML's plain types; a key that stands twice is refused, where YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml_mapping(words: list[str]) -> dict[str, Any]:
    try:
        value = yaml.load(words[0], _Loader)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{words[0]!r} is not a mapping such as '{{key: value}}'")
    return value


YamlMapping = Annotated[
    dict[str, Any],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="{KEY: VALUE, ...}",
        instance_from_str=_yaml_mapping,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()],
    ),
]
"""A free mapping, given on the command line as one word of YAML."""


def _auto_switch(words: list[str]) -> bool | str:
    word = words[0].lower() if words else "true"
    if word not in ("auto", "true", "false"):
        raise ValueError(f"{word!r} is neither auto, true nor false")
    return word if word == "auto" else word == "true"


AutoSwitch = Annotated[
    Literal["auto", True, False],
    PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="[{auto,true,false}]",
        instance_from_str=_auto_switch,
        is_instance=lambda value: value == "auto" or isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
    ),
]
"""A switch that may be left to the program: `--flag` and `--flag true` are true."""


class SettingError(UserError):
    """A setting that is unknown or has a value that it cannot have."""

    def __init__(self, path: tuple[str, ...], fault: str) -> None:
        super().__init__(".".join(path) + fault if path else fault.removeprefix(": "))
        self.path = path
        """Names that lead to the setting; empty where several settings do not go together."""
        self.fault = fault

    @classmethod
    def of(cls, error: ValidationError, config: type[BaseModel]) -> "SettingError":
        """The first fault that pydantic found in a `config`; those of nested configs keep their path."""
        fault = error.errors()[0]
        path = tuple(str(part) for part in fault["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        inner = fault.get("ctx", {}).get("error")
        if isinstance(inner, cls):
            return cls(path + inner.path, inner.fault + more)
        if fault["type"] == "extra_forbidden":
            return cls(path, f": no such setting{near_misses(path[-1], config.model_fields)}{more}")
        message = fault["msg"].removeprefix("Value error, ")
        given = f" = {shown(fault['input'])}" if path and fault["type"] != "missing" else ""
        return cls(path, f"{given}: {message[0].lower()}{message[1:]}{more}")


class Config(BaseModel):
    """Base of every group of settings: typed, frozen, unknown keys refused, documented field by field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def __init__(self, **settings: Any) -> None:
        """Check the settings.

        Raises:
            SettingError: one is unknown or has a value that it cannot have.
        """
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise SettingError.of(error, type(self)) from None

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, settings: Any) -> Any:
        """A group of settings that is given in part keeps the rest of what the class has for it."""
        if not isinstance(settings, Mapping):
            return settings
        groups = {name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, Config)}
        given = {name: settings[name] for name in groups if isinstance(settings.get(name), Mapping)}
        return {**settings, **{name: merge(groups[name].model_dump(), value) for name, value in given.items()}}


def configs_folder() -> Path:
    """The folder of the configs that ship with the package."""
    return Path(str(files("sslzoo.configs")))


def config_names(folder: str = "") -> list[str]:
    """Names of the shipped layers below `folder`, such as `dataset/cifar10`, without their ending."""
    root = configs_folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in (root / folder).rglob("*.yaml"))


def find_layer(name: str, *, setting: str = "--config", beside: Path | None = None) -> Path:
    """The file of a layer: a path (relative ones also beside the including file), or a shipped layer's name.

    Raises:
        UserError: there is no such file or name.
    """
    candidates = [Path(name), configs_folder() / f"{name}.yaml"]
    if beside is not None:
        candidates.insert(0, beside / name)
    for path in candidates:
        if path.is_file():
            return path
    hint = near_misses(name, config_names())
    raise UserError(f"{setting} {name}: no such file, nor a config of that name{hint}")


def read_layers(path: Path, _open: tuple[Path, ...] = ()) -> list[tuple[str, Layer]]:
    """A YAML file and the layers of its `include:` list, each with where it is from, the file itself last.

    Raises:
        UserError: a file is not YAML, not a mapping, or includes itself.
    """
    if path.resolve() in _open:
        raise UserError(f"{path}: includes itself by way of {' -> '.join(p.name for p in _open)}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: not readable as YAML: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text, the date 2026-13-13
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: a config is a mapping of settings, this is a {type(content).__name__}")
    include = content.pop("include", [])
    names = [include] if isinstance(include, str) else include
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: include takes a name or a list of names")
    included: list[tuple[str, Layer]] = []
    for name in names:
        below = find_layer(name, setting=f"{path}: include", beside=path.parent)
        included += read_layers(below, (*_open, path.resolve()))
    return [*included, (str(path), content)]


def read_layer(path: Path) -> Layer:
    """A YAML file as one mapping, what it includes merged below it (later ones win)."""
    return merge_all(layer for _, layer in read_layers(path))


class PartConfig(Config):
    """Base of the settings of a part that is chosen by name."""

    name: Annotated[str, tyro.conf.Suppress] = ""
    """The part's name in its registry."""


class _Dumper(yaml.SafeDumper):
    """Lists on one line."""


_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))


def dump_layer(layer: Layer) -> str:
    """A layer as YAML, in the order that it has."""
    return yaml.dump(layer, Dumper=_Dumper, sort_keys=False, width=110)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Layer:
    """`above` over `below`, mapping by mapping; any other value replaces what it covers.

    A part that is named anew (`method: byol` over `method: {name: moco, ...}`) drops the old part's settings. Free
    mappings, `kwargs`, are replaced as a whole, as their flags replace them.
    """
    merged: Layer = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and key != "kwargs":
            renamed = "name" in value and value["name"] != old.get("name", value["name"])
            merged[key] = dict(value) if renamed else merge(old, value)
        else:
            merged[key] = value
    return merged


def merge_all(layers: Iterable[Mapping[str, Any]]) -> Layer:
    """Layers as one, later ones win."""
    merged: Layer = {}
    for layer in layers:
        merged = merge(merged, layer)
    return merged
