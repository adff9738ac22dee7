"""Talk to the user: one-line errors, exit status 2, checked numbers, streams that may be missing."""

import argparse
import functools
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import NoReturn

NO_MEMORY = "there is not enough memory: give a smaller --batch_size, --num_filters or --size"
CONTROLS = {code: "?" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\r\t"}


class UserError(Exception):
    """A mistake that the user can correct. The message is one line: what is wrong, and what to do."""


def one_line(text: object) -> str:
    """Return ``text`` with escapes for what a terminal should not get, such as line breaks in the name of a file."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def brief(error: Exception) -> str:
    """Return what an exception says, on one line; some quote the file that they failed on."""
    return one_line(" ".join(str(error).split()))[:200] or type(error).__name__


def _text(value: str) -> str:
    """Return the value of a flag with ~ expanded, which shells leave as it is in ``--outdir=~/x``."""
    if not value:  # as an unset variable of the shell is
        raise argparse.ArgumentTypeError("it is empty: give it a value, or leave it out")
    return os.path.expanduser(value)


class Parser(argparse.ArgumentParser):
    """Parse arguments; show defaults in the help and report a mistake in one line."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **kwargs)
        self.register("type", None, _text)  # of flags without another type

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {one_line(message)} (see {self.prog} --help)\n")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Append ``(default: X)`` where there is a default worth showing."""

    def _get_help_string(self, action):
        if action.default in (None, argparse.SUPPRESS) or action.default is False or "default" in action.help:
            return action.help
        return f"{action.help} (default: %(default)s)"


def warn(message: str) -> None:
    """Print a warning to standard error."""
    print(f"warning: {one_line(message)}", file=sys.stderr)


class _Stream:
    """Write to a text stream, without control characters.

    A stream that is full or whose reader has gone becomes the null device: the work matters more than its messages.
    """

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(self._stream.write, text.translate(CONTROLS))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, method: Callable, *values) -> None:
        try:
            method(*values)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if not isinstance(error, BrokenPipeError):
                warn(f"{self._stream.name}: {error.strerror}; the output is lost")


def progress(things: Iterable | None, total: int, **settings):
    """Return tqdm's bar of how many ``things`` were taken, on standard error if that is a terminal."""
    from tqdm import tqdm

    columns, rows = shutil.get_terminal_size()  # not 0, as some terminals say, for which tqdm shows nothing
    return tqdm(things, total=total, ncols=columns - 1, nrows=rows - 1, **{"leave": False, "disable": None, **settings})


def exit_on_interrupt() -> None:
    """Let Ctrl-C end the process at once, until ``command`` takes over.

    Scripts call this before they import PyTorch, which takes seconds and answers Ctrl-C with a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and not hasattr(sys, "ps1"):  # nor in a notebook
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorate a script's ``main(argv=None)``: a ``UserError`` or failing file operation ends in one line and status 2.

    With COLOUR_TRACEBACK=1 in the environment, the traceback behind that line is printed before it. Ctrl-C, or
    ``KeyboardInterrupt(message, number)``, ends the process by its signal, so that a shell's loop ends, too; in a
    notebook, only the cell. A standard stream that is closed, full or not read to its end changes nothing.
    """

    @functools.wraps(main)
    def run(argv=None):
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _open_missing_streams()
        out, err = (_Stream(stream or open(os.devnull, "w")) for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
        for stream in out, err:  # a terminal that cannot show a letter shows its code
            if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        denormals = sys.float_info.min / 2 > 0  # not if they count as 0 already, as pick_device has it
        with redirect_stdout(out), redirect_stderr(err):
            try:
                return main(argv) or 0
            except KeyboardInterrupt as stop:
                message, number = stop.args or ("interrupted", signal.SIGINT)
                print(message, file=sys.stderr)
            except Exception as error:
                # NotImplementedError: what a student has yet to write
                if not (isinstance(error, (UserError, OSError, NotImplementedError)) or out_of_memory(error)):
                    raise
                print("error:", message_of(error, NO_MEMORY), file=sys.stderr)
                raise SystemExit(2) from None
            finally:
                out.flush()
                if denormals and "torch" in sys.modules:
                    sys.modules["torch"].set_flush_denormal(False)
        if not hasattr(sys, "ps1"):  # which notebooks and Python's prompt have
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        raise SystemExit(128 + number)

    return run


def out_of_memory(error: Exception) -> bool:
    """Tell whether memory was not enough, for which PyTorch has errors of several kinds."""
    return isinstance(error, MemoryError) or bool(re.search("(allocate|enough|out of) memory|bad.alloc", str(error)))


def _open_missing_streams() -> None:
    """Open the null device in place of closed standard streams, else files that are opened later take their places."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def show_traceback(error: Exception) -> None:
    """Print the traceback of an exception if COLOUR_TRACEBACK is set in the environment."""
    if os.environ.get("COLOUR_TRACEBACK"):
        traceback.print_exception(error)


def message_of(error: Exception, no_memory: str) -> str:
    """Return what an exception says to the user, on one line; ``no_memory`` if memory was not enough."""
    show_traceback(error)
    file = getattr(error, "filename", None)
    message = f"{file}: {error.strerror}" if file else str(error)
    return one_line(" ".join((no_memory if out_of_memory(error) else message).split()))


def number(kind: type, low: float, high: float = float("inf"), *, odd: bool = False):
    """Return an argparse type: a finite ``kind`` (int or float) from ``low`` to ``high``, both included."""

    def parse(text: str):
        with suppress(ValueError):
            value = kind(text)
            if low <= value <= high and value < float("inf") and not (odd and value % 2 == 0):
                return value
        what = ("an odd" if odd else "a") + (" whole number" if kind is int else " number")
        limits = f"from {low:g} to {high:g}" if high < float("inf") else f"of at least {low:g}"
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} {limits}")

    return parse


def folder_for(path: str | Path, flag: str) -> Path:
    """Return the folder of results at ``path``, made if missing.

    Raises ``UserError`` if nothing can be written there, so that a long run cannot fail at its first save.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise UserError(f"cannot write in the folder {path} ({error.strerror}): choose another with {flag}") from error
    return path
