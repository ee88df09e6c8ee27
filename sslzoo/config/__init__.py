"""Typed settings, YAML layers, registries and command-line arguments."""

from sslzoo.config.registry import Registry
from sslzoo.config.schema import Config, PartConfig, SettingError

__all__ = ["Config", "PartConfig", "Registry", "SettingError"]
