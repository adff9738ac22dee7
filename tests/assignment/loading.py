"""Imports code of any year: a statement that fails is left out and noted, and all others count.

A submission is marked by its classes. What stands around them, helpers that import Python 2's modules, a ``print``
below the main guard, a palette read from a folder of its author's, has nothing to do with them.
"""

import ast
import builtins
import codecs
import importlib.util
import io
import os
import re
import signal
import sys
import tokenize
import traceback
from contextlib import contextmanager
from importlib.machinery import FrozenImporter, PathFinder, SourceFileLoader
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
OURS = "load_data", "colour_regression", "colour"  # stand in where a submission came without; none holds a solution
SOLUTIONS = "colourization.py", "__pycache__", "tests", "writeup"  # here, and closed to a submission
MAX_SOURCE = 1 << 20  # bytes
FAILED = "__failed__"  # in a module: why it has no class of some names
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
OTHER_FILES = {  # by their first bytes
    rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b": "this is an archive: unpack it first",
    rb"\s*\{\s*\"(cells|metadata|nbformat)\"": "this is a notebook: export it as colourization.py",
    rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml)": "this is a web page: save the Python file itself",
    rb"%PDF": "this is a PDF: hand in the Python file",
    rb"\{\\rtf|\xd0\xcf\x11\xe0": "this is a text processor's file: save it as plain text",
}

# Today's words for what PyTorch and Python had in 2018. None of this was in the way of a right answer then.
REMOVED = {
    r"\basync\s*=": "`async` is a keyword of Python now; the argument is called `non_blocking`",
    r"\bvolatile\s*=": "`volatile` does nothing any more: compute within `with torch.no_grad():`",
    r"\.data\[0\]": "a loss has no dimension now: `loss.item()` in place of `loss.data[0]`",
    r"\bdevice_id\s*=": "`cuda(device_id=...)` is gone: `.to(device)`",
    r"\btorch\.(legacy|utils\.ffi)\b": "`torch.legacy` and `torch.utils.ffi` are gone",
    r"\bnp\.(float|int|bool|object)\b": "numpy's names for Python's own types are gone: `float`, `int`, `bool`",
    r"\bscipy\.misc\b": "`scipy.misc` is gone: read pictures with Pillow",
    r"\bxrange\(": "`xrange` is called `range` since Python 3",
    r"\b(izip|cPickle)\b": "`izip` and `cPickle` are Python 2's: `zip`, `pickle`",
    r"\b(import|from) six\b": "`six` is for code that runs in Python 2, too: write Python 3",
    r"^\s*print\s+[^\s(=]": "`print` is a function since Python 3",
}
HINTS = {  # what errors of PyTorch and Python mean here
    "SystemExit|it took too long": "this runs when the file is imported: put it under `if __name__ == '__main__':`",
    "NVIDIA driver|compiled with CUDA": "`.cuda()` needs a GPU, and the sheet needs none: leave it out",
    r"takes 1 positional argument but \d were given": "is there an `__init__`, with two underscores before and after?",
    'missing the required "forward"': "is there a `forward`?",
}
GIVEN_BACK = {"xrange": range, "unicode": str, "long": int, "raw_input": input}


class Wrong(Exception):
    """Something about a submission that no error of Python's says."""


def size(shape) -> str:
    return "x".join(map(str, shape))


def text_of(path: Path) -> str:
    """Return the text of a file, whatever its encoding; raises ``Wrong`` if it is none, or too large."""
    with open(path, "rb") as file:
        data = file.read(MAX_SOURCE + 1)
    for begin, what in OTHER_FILES.items():
        if re.match(begin, data, re.IGNORECASE):
            raise Wrong(what)
    if len(data) > MAX_SOURCE:
        raise Wrong("the file is larger than a megabyte")
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    try:
        return data.decode(tokenize.detect_encoding(io.BytesIO(data).readline)[0])
    except (SyntaxError, UnicodeDecodeError):  # a coding line that lies
        return data.decode("latin-1")


def advised(line: str, limit: int = 200) -> str:
    """Make a line fit for a terminal: printable and short. Add today's word for what is gone, and what errors mean."""
    line = line[:10 * limit]
    advice = [advice for pattern, advice in {**REMOVED, **HINTS}.items() if re.search(pattern, line)]
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())
    return "; ".join([line if len(line) <= limit else f"{line[:limit]} ...", *advice])


def outdated(path: Path) -> list[str]:
    """Return the lines of a submission that use what is gone; some may never run."""
    return [f"line {number}: {advice}" for number, line in enumerate(text_of(path).splitlines(), 1)
            for pattern, advice in REMOVED.items() if re.search(pattern, line)]


def explain(error: BaseException, path: str) -> str:
    """Return an error as one line, with the line of the file at ``path``, or of one beside it, that it came from."""
    if isinstance(error, Wrong | NotImplementedError) and str(error):  # which say all, as the hand-out's bodies do
        return str(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if Path(frame.filename).parent == Path(path).parent]
    place, message = "", str(error)
    if isinstance(error, SyntaxError) and error.filename == path:
        place, message = f"line {error.lineno}, `{(error.text or '').strip()}`: ", error.msg
    elif frames:
        file, line, _, code = frames[0 if isinstance(error, SystemExit | TooLong) else -1]  # what began it
        place = f"{'' if file == path else f'{Path(file).name} '}line {line}, `{code}`: "
    return f"{place}{type(error).__name__}: {message}".rstrip(": ")


def parsed(path: str, note) -> ast.Module:
    """The statements of a file, except for those that are no Python (any more): ``note(error, what is left out)``.

    Of a statement of Python 2 or IPython's the line is left out, if that mends it, or else all that belongs to it: from
    one unindented line to the next.
    """
    source = re.sub(r"\basync(?=\s*=[^=])", "non_blocking", text_of(path)).replace("\0", " ")
    lines = re.split(r"\r\n?|\n", source)
    while True:
        try:
            return ast.parse("\n".join(lines), path)
        except TabError as error:  # to Python 2 a tab reached to the next of columns 0, 8, 16, ...
            error.filename = path
            note(error, "")
            lines = [line.expandtabs(8) for line in lines]
        except SyntaxError as error:
            error.filename = path
            begun = re.search(r"on line (\d+)", error.msg)  # where Python expected something else, it met innocent code
            at = min(int(begun[1]) if begun else error.lineno or 1, len(lines)) - 1
            if python2 := re.match(r"(\s*)(print\b|[%!])", lines[at]):
                note(error, "")
                lines[at] = f"{python2[1]}pass"
                continue
            starts = [n for n, line in enumerate(lines) if re.match(r"[^\s#)\]}]", line)]
            first = max((n for n in starts if n <= at), default=0)
            last = min((n for n in starts if n > at), default=len(lines))
            note(error, "\n".join(lines[first:last]))
            if not any(lines[first:last]):
                raise Wrong("this is no Python file") from None
            lines[first:last] = [""] * (last - first)


class Tolerant(SourceFileLoader):
    """Runs a module a statement at a time. One that raises, or asks to exit, is noted in ``notes`` and left out."""

    def __init__(self, name: str, path: str, notes: list[str]):
        super().__init__(name, path)
        self.notes = notes

    def note(self, error: BaseException, statement: str) -> None:
        """Note an error, also as the reason why there is no class that the statement would have made."""
        reason = explain(error, self.path)
        self.notes.append(f"{Path(self.path).name} {reason}")
        self.failed |= dict.fromkeys(re.findall(r"^class (\w+)", statement, re.MULTILINE), reason)

    def exec_module(self, module) -> None:
        statements, self.failed = [], vars(module).setdefault(FAILED, {})
        for statement in parsed(self.path, self.note).body:
            if isinstance(statement, ast.Import):  # of `import six, torch` torch counts
                statements += [ast.copy_location(ast.Import([name]), statement) for name in statement.names]
            else:
                statements.append(statement)
        future = [one for one in statements if isinstance(one, ast.ImportFrom) and one.module == "__future__"]
        for statement in statements:
            try:
                program = ast.fix_missing_locations(ast.Module([*future, statement], []))
                exec(compile(program, self.path, "exec"), module.__dict__)
            except BaseException as error:
                self.note(error, ast.unparse(statement))


class Finder:
    """Finds the modules of a submission's folder, and ours that may stand in for what is not there."""

    def __init__(self, folder: Path, notes: list[str]):
        self.folder, self.notes = str(folder), notes

    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path or [self.folder])
        if spec is None:
            return PathFinder.find_spec(name, [str(ROOT)]) if name in OURS else None
        place = Path(spec.origin or "")
        if type(spec.loader) is SourceFileLoader and place.is_relative_to(self.folder) and (
                "site-packages" not in place.parts) and not (  # a student's own environment may be in the folder
                name.partition(".")[0] in OURS and self._is_unchanged(place)):
            spec.loader = Tolerant(name, spec.origin, self.notes)
        return spec

    def _is_unchanged(self, file: Path) -> bool:
        """Tell if a file is a copy of this project's: those load faster in the ordinary way."""
        ours = ROOT / file.relative_to(self.folder)
        return ours.is_file() and ours.read_bytes() == file.read_bytes()


class TooLong(BaseException):
    def __str__(self):
        return "stopped, because it took too long"


@contextmanager
def alarms(seconds: float):
    """Interrupt what runs after that time, and then again each second."""
    def interrupt(*_):
        raise TooLong

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def come_first(folder: Path) -> None:
    """Forget Python's own modules that are called like a file of the folder, which comes first as usual."""
    for name in {file.stem for file in folder.glob("*.py")} & sys.stdlib_module_names:
        if name not in sys.builtin_module_names and not FrozenImporter.find_spec(name):
            sys.modules.pop(name, None)


def hide_solutions(submission: str) -> None:
    """Have this process write nothing in this project, and read no solution there, unless that is marked itself."""
    def refuse(event, arguments):
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, flags = Path(os.path.realpath(os.fsdecode(arguments[0]))), arguments[2]
            if path.is_relative_to(ROOT) and str(path) != submission and (
                    flags & (os.O_WRONLY | os.O_RDWR) or path.relative_to(ROOT).parts[:1] in closed):
                raise PermissionError(f"a submission may not open {path.name}")

    closed = [(name,) for name in SOLUTIONS]
    sys.addaudithook(refuse)


def load(path: str, seconds: float):
    """Import the file at ``path`` as the module ``colourization``; returns it and what was left out, a line each."""
    notes = []
    come_first(Path(path).parent)
    hide_solutions(path)
    vars(builtins).update(GIVEN_BACK)
    for name in "float", "int", "bool", "object":
        vars(np).setdefault(name, getattr(builtins, name))
    sys.meta_path.insert(0, Finder(Path(path).parent, notes))
    sys.argv = [path]
    loader = Tolerant("colourization", path, notes)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # helpers may import it
    with alarms(seconds):
        loader.exec_module(module)
    return module, notes
