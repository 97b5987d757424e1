"""The edge of the console: a mistake in what was typed is one sentence on stderr and exit code 2."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from odebridge.core.memory import out_of_memory
from odebridge.core.names import nearest

# What typer raises for a wrong command line; older versions take it from click, newer ones bring their own.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


# A disk that is full or broken, which is no fault of what was typed; Windows knows no quota.
DISK = {getattr(errno, kind) for kind in ("ENOSPC", "EDQUOT", "EFBIG", "EIO") if hasattr(errno, kind)}


class Refused(Exception):
    """What was typed cannot be done; the text says what to write instead. code: of the exit."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def refusing(*kinds: type[Exception]) -> Generator[None]:
    """Exceptions about input become `Refused`. Keep the block small: a fault of ours must not look like one of the user's."""
    about_input = kinds or (ValueError, TypeError, OSError)
    try:
        yield
    except about_input as error:
        if isinstance(error, OSError) and error.errno in DISK:
            text = f"{error.strerror}: {error.filename!r} cannot be written. What was written before is kept; --resume goes on."
            raise Refused(text, 1) from error
        raise Refused(str(error)) from error


class Commands(TyperGroup):
    """Wrong usage ends in one sentence on stderr and exit code 2."""

    def main(self, *args: Any, standalone_mode: bool = True, **more: Any) -> Any:
        """Run; exit codes as promised, whether called by the console script or by a test."""
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            try:
                code = super().main(*args, standalone_mode=False, **more)
            except Refused as error:
                code = _say(str(error), error.code)
            except USAGE_ERROR as error:
                code = _say(_usage(error))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                code = _say(f"Out of memory: {str(error).splitlines()[0]} Try a smaller width, depth or batch.", 1)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code

    def invoke(self, ctx: Any) -> Any:
        """The command; Ctrl-C ends it with a sentence and exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(_say("Stopped. What was written is kept; a training goes on with --resume.", 130)) from None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or a sentence with the nearest."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise Refused(f"There is no command {cmd_name!r}: {nearest(cmd_name, self.commands)}")
        return found


def _warn(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """A warning as a sentence; what developers are told of old names is not for who types a command."""
    if not issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning)):
        typer.echo(f"odebridge: {message}", err=True)


def _say(sentence: str, code: int = 2) -> int:
    typer.echo(f"odebridge: {' '.join(sentence.split())}", err=True)
    return code


def _usage(error: Any) -> str:
    if type(error).__name__ != "NoSuchOption":
        return error.format_message()
    known = ["--help", *(name for p in error.ctx.command.params for name in p.opts if name.startswith("-"))]
    return f"There is no option {error.option_name!r}: {nearest(error.option_name, known)}"
