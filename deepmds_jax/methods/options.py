"""Options of a method: fields that become flags of bin/train, and the JSON of a configuration."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any

from deepmds_jax import topologies


def option(
    default: Any,
    help: str,
    *,
    choices: Collection[str] | None = None,
    lower_bound: float | None = None,
) -> Any:
    """A dataclass field that becomes a flag of bin/train.

    Args:
      default: its value where none is given; its type is the flag's.
      help: of the flag.
      choices: the values that a text may have.
      lower_bound: of a number.
    """
    limits = {"help": help, "choices": choices, "lower_bound": lower_bound}
    return dataclasses.field(default=default, metadata=limits)


def check_choices(options: Any) -> None:
    """Raises ValueError where a field made by `option` has a value that is none of its choices."""
    for field in dataclasses.fields(options):
        choices = field.metadata.get("choices")
        if choices and getattr(options, field.name) not in choices:
            raise ValueError(f"{field.name}: expected one of {list(choices)}, "
                             f"got {getattr(options, field.name)!r}")


def check_positive(options: Any, *names: str) -> None:
    """Raises ValueError where one of these fields is not a number above 0."""
    for name in names:
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{name}: expected a number above 0, got {value!r}")


def name_topology(config: Any) -> None:
    """Puts the name of a topology in place of its file's path in a configuration.

    So that the configuration means the same where the file is not.

    Raises:
      ValueError: there is no such topology.
    """
    object.__setattr__(config, "topology", topologies.get(config.topology).name)


def implied(default: Any) -> Any:
    """A dataclass field that the description of a training run leaves out at its default.

    Older runs, which know nothing of the field, then still are the same run.
    """
    return dataclasses.field(default=default, metadata={"implied": True})


def read_entries(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The entries of the configuration in the metadata of a weights file.

    Raises:
      ValueError: there is none, or it is no JSON object.
    """
    text = metadata.get("config", "none")
    try:
        entries = json.loads(text)
    except json.JSONDecodeError:
        entries = None
    if not isinstance(entries, dict):
        raise ValueError(f"config: expected a JSON object, got {text}")
    return entries


def config_from_json(
    config: type, metadata: Mapping[str, str], ignored: Collection[str] = ()
) -> Any:
    """The configuration that the metadata of a weights file hold as JSON.

    Args:
      config: its dataclass.
      metadata: of the file.
      ignored: entries of older files that mean nothing to this method.

    Raises:
      ValueError, TypeError: there is none, or an entry is unknown or not valid.
    """
    entries = read_entries(metadata)
    return config(**{name: value for name, value in entries.items() if name not in ignored})
