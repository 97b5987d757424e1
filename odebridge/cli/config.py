"""`--config FILE.toml`: the options of a command from a file; what is typed on the command line wins."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from odebridge.cli.edge import Refused, refusing
from odebridge.core.names import nearest
from odebridge.core.toml import read_toml

NOT_IN_A_FILE = ("config", "resume", "help")  # what is said of one run
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a text", list: "a table"}
KEPT = "odebridge.config"  # where a context has the tables of the file


def _configured(context: typer.Context, path: Path | None) -> Path | None:
    """Takes the values of the file for those of the defaults, before the other options are looked at."""
    if path is None or context.resilient_parsing:
        return path
    with refusing():
        page = read_toml(path)
    said, kinds, values = f"--config: {str(path)!r}", _options(context), {}
    for key, value in page.items():
        name = key.replace("-", "_")
        if name not in kinds:
            raise Refused(f"{said} has {_unknown(key, kinds, context)}")
        if name in values:
            raise Refused(f"{said} has {name!r} twice, once with a dash; write it once.")
        wanted = kinds[name][1]
        if not _fits(value, wanted):
            raise Refused(f"{said} has {key} = {value!r}, and it must be {KINDS[wanted]}.")
        values[name] = value
    tables = {k: v for k, v in values.items() if isinstance(v, dict)}
    context.meta[KEPT] = tables
    # As text where the command line has text, so that both go through the same checks of range and kind.
    plain = {k: v if isinstance(v, bool) else str(v) for k, v in values.items() if k not in tables}
    context.default_map = {**(context.default_map or {}), **{kinds[k][0]: v for k, v in plain.items()}}
    return path


Config = Annotated[
    Path | None,
    typer.Option("--config", is_eager=True, callback=_configured, help="a TOML file with options; those typed here win"),
]


def table(context: typer.Context, name: str) -> Mapping[str, Any]:
    """A table of the file that --config has named; empty without one."""
    return context.meta.get(KEPT, {}).get(name, {})


def from_file(context: typer.Context, name: str) -> bool:
    """Does this argument have its value from the file?"""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


def _options(context: typer.Context) -> dict[str, tuple[str, Any]]:
    """For the name of every option in a file: its name as an argument of the function, and its kind."""
    hints, found = typing.get_type_hints(context.command.callback), {}
    for parameter in context.command.params:
        long = [word.removeprefix("--") for word in parameter.opts if word.startswith("--")]
        if parameter.name in hints and long and long[0] not in NOT_IN_A_FILE:
            found[long[0].replace("-", "_")] = (parameter.name, _kind(hints[parameter.name]))
    return found


def _kind(hint: Any) -> Any:
    """Of `list[str] | None`, `list`; of `float`, itself."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_origin(hint) or hint


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    wanted: dict[Any, Any] = {float: (int, float), Path: str, list: dict}
    return isinstance(value, wanted.get(kind, kind))


def _unknown(key: str, kinds: Mapping[str, Any], context: typer.Context) -> str:
    if isinstance(key, str) and key in NOT_IN_A_FILE:
        return f"{key!r}, which belongs on the command line."
    command = (
        f"{context.parent.info_name} {context.info_name}" if context.parent and context.parent.parent else context.info_name
    )
    return f"the key {key!r}, and {command!r} has no such option: {nearest(key.replace('-', '_'), kinds)}"
