"""The strict base of every group of settings."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tyro
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from tyro.constructors import PrimitiveConstructorSpec

from sslzoo.config.layers import StrictLoader, merge
from sslzoo.runtime.errors import UserError, format_value, near_misses


def _yaml_mapping(words: list[str]) -> dict[str, Any]:
    try:
        value = yaml.load(words[0], StrictLoader)
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
        given = f" = {format_value(fault['input'])}" if path and fault["type"] != "missing" else ""
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


class PartConfig(Config):
    """Base of the settings of a part that is chosen by name."""

    name: Annotated[str, tyro.conf.Suppress] = ""
    """The part's name in its registry."""
