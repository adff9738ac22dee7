"""How every script talks to its user: one-line errors, exit status 2, checked numbers."""

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, and what to do."""


def brief(error: Exception) -> str:
    """What an exception says, on one line; some quote the file that they failed on."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class Parser(argparse.ArgumentParser):
    """An argument parser that shows defaults in its help and ends a mistake with one line."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Appends ``(default: X)`` where there is a default worth showing."""

    def _get_help_string(self, action):
        if any(action.default is nothing for nothing in (None, False, argparse.SUPPRESS)) or "default" in action.help:
            return action.help
        return f"{action.help} (default: %(default)s)"


def warn(message: str) -> None:
    """Say something on standard error that is no failure."""
    print(f"warning: {message}", file=sys.stderr)


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorate a script's ``main(argv=None)``: expected failures end in one line, not a traceback.

    A ``UserError`` or a failing file operation exits with status 2, Ctrl-C with 130; a reader of
    standard output that went away (``| head -1``) ends the script quietly with 1.
    """

    @functools.wraps(main)
    def run(argv=None):
        for stream in sys.stdout, sys.stderr:  # a name that the terminal cannot show is no failure
            if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = main(argv) or 0
            sys.stdout.flush()
            return status
        except UserError as error:
            message = str(error)
        except BrokenPipeError:
            # The interpreter flushes standard output once more at exit: give it somewhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except OSError as error:
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None
        line = "".join(letter if letter.isprintable() else " " for letter in message)  # names may come from files
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
        raise SystemExit(2)

    return run


def number(kind: type, low: float, high: float = float("inf"), *, odd: bool = False):
    """An argparse type: a finite ``kind`` (int or float) from ``low`` to ``high``, both included."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high or value == float("inf") or odd and value % 2 == 0:
            what = ("an odd" if odd else "a") + (" whole number" if kind is int else " number")
            limits = f"from {low:g} to {high:g}" if high < float("inf") else f"of at least {low:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {limits}")
        return value

    return parse


def folder_for(path: str | Path, flag: str) -> Path:
    """The folder of results at ``path``, made if missing; ``UserError`` if nothing can be written there.

    Called before minutes of work whose result would have no place to go.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise UserError(f"cannot write in the folder {path} ({error.strerror}): choose another with {flag}") from error
    return path
