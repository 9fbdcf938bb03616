"""Command-line flags, made from the settings class."""

import argparse
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from wise_serve.settings import GROUPS, Settings


def flag_of(name: str) -> str:
    """`max_body_bytes` -> `--max-body-bytes`."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """`max_body_bytes` -> `WISE_MAX_BODY_BYTES`."""
    return f"{Settings.model_config.get('env_prefix', '')}{name}".upper()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each setting.

    A flag that is not given stays out of the namespace, so that the environment or the default
    decides.
    """
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            add_flag(group, name)


def add_flag(group: argparse._ActionsContainer, name: str) -> None:
    """Add the flag of one setting."""
    field = Settings.model_fields[name]
    group.add_argument(
        flag_of(name),
        dest=name,
        default=argparse.SUPPRESS,
        help=_help(name, field),
        **_kind(field),
    )


def settings_from(parser: argparse.ArgumentParser, given: dict[str, Any]) -> Settings:
    """The settings: a flag overrides the environment, and the environment overrides the default. On
    a wrong value it prints an error and raises SystemExit.
    """
    try:
        return Settings(**{name: given[name] for name in Settings.model_fields if name in given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if name in given:
            source = flag_of(name)
        elif name in Settings.model_fields:
            source = variable_of(name)
        else:
            source = name
        message = first["msg"].removeprefix("Value error, ")
        parser.error(f"{source}: {message}" if source else message)


def _kind(field: FieldInfo) -> dict[str, Any]:
    """The arguments of `add_argument` for this field's type; the settings class checks ranges."""
    if get_origin(field.annotation) is Literal:
        return {"choices": get_args(field.annotation)}
    if get_origin(field.annotation) is tuple:
        return {"action": "append", "metavar": (field.examples or ["PATH"])[0]}
    plain = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    kind = plain[0] if plain else field.annotation
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    metavar = {int: "N", float: "X", str: "TEXT"}
    return {"type": kind, "metavar": metavar.get(kind, "VALUE") if isinstance(kind, type) else None}


def _help(name: str, field: FieldInfo) -> str:
    parts = [] if field.default in (None, (), "") else [f"default: {field.default}"]
    text = f"{field.description} [{', '.join([*parts, variable_of(name)])}]"
    return text.replace("%", "%%")
