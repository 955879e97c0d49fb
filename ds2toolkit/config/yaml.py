"""Configurations from YAML: merged, overridden, checked at the door; an unknown key is an error."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml

from ds2toolkit.errors import ConfigError

T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file. Raises ConfigError when it is missing, not YAML or not a mapping."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw or {}, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, found a {type(raw).__name__}")
    return raw or {}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def override(raw: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Lay `section.key=value` settings, values in YAML, on a raw configuration."""
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, as in model.rnn_size=512")
        nested: Any = yaml.safe_load(value)
        for key in reversed(name.split(".")):
            nested = {key: nested}
        raw = merge(raw, nested)
    return raw


def from_dict(kind: type[T], raw: dict[str, Any], where: str) -> T:
    """Build a configuration and check every key and type. Raises ConfigError naming `where` and the key."""
    check_keys(kind, raw, where)
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        return kind(**vars(parser.instantiate(parser.parse_object(raw))))
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from None


def check_keys(kind: type, raw: dict[str, Any], where: str) -> None:
    """Raise ConfigError for the first key that no field of the dataclass (or of its sections) has."""
    hints = get_type_hints(kind)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)
            raise ConfigError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
        section = next((a for a in (hints[key], *get_args(hints[key])) if dataclasses.is_dataclass(a)), None)
        if section and isinstance(value, dict):
            check_keys(section, value, f"{where}: {key}")


def to_dict(config: Any) -> dict[str, Any]:
    """Plain values, as they go into a checkpoint and come back through `from_dict`."""
    return dataclasses.asdict(config)
