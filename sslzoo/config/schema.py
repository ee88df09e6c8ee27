"""The strict base classes of settings."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tyro
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from tyro.constructors import PrimitiveConstructorSpec

from sslzoo.config.layers import StrictLoader, merge
from sslzoo.runtime.errors import UserError, format_value, near_misses


def _parse_yaml_mapping(words: list[str]) -> dict[str, Any]:
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
        instance_from_str=_parse_yaml_mapping,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()],
    ),
]
"""A free mapping, written as one YAML argument on the command line."""


def _parse_auto_switch(words: list[str]) -> bool | str:
    word = words[0].lower() if words else "true"
    if word not in ("auto", "true", "false"):
        raise ValueError(f"{word!r} must be auto, true or false")
    return word if word == "auto" else word == "true"


AutoSwitch = Annotated[
    Literal["auto", True, False],
    PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="[{auto,true,false}]",
        instance_from_str=_parse_auto_switch,
        is_instance=lambda value: value == "auto" or isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
    ),
]
"""A boolean that may also be `auto`; `--flag` is the same as `--flag true`."""


class SettingError(UserError):
    """An unknown setting, or an invalid value of a setting."""

    def __init__(self, path: tuple[str, ...], fault: str) -> None:
        super().__init__(".".join(path) + fault if path else fault.removeprefix(": "))
        self.path = path
        """Path of names to the setting; empty if the error is about a combination of settings."""
        self.fault = fault

    @classmethod
    def from_validation_error(cls, error: ValidationError, config: type[BaseModel]) -> "SettingError":
        """Convert the first error that pydantic found in `config`; errors of nested configs keep their path."""
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
    """Base of every group of settings: typed, frozen and documented field by field; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Make each description one line, which `--help` wraps."""
        for field in cls.model_fields.values():
            field.description = " ".join(field.description.split()) if field.description else None

    def __init__(self, **settings: Any) -> None:
        """Validate the settings.

        Raises:
            SettingError: a setting is unknown or has an invalid value.
        """
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise SettingError.from_validation_error(error, type(self)) from None

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, settings: Any) -> Any:
        """Fill partially given groups of settings with the defaults of the class."""
        if not isinstance(settings, Mapping):
            return settings
        groups = {name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, Config)}
        given = {name: settings[name] for name in groups if isinstance(settings.get(name), Mapping)}
        return {**settings, **{name: merge(groups[name].model_dump(), value) for name, value in given.items()}}


class PartConfig(Config):
    """Base of the settings of a method, target or loss, which is chosen by name."""

    name: Annotated[str, tyro.conf.Suppress] = ""
    """Name in the registry."""
