"""Count what the processes of a submission take, and end them.

This reads /proc, which Linux has; elsewhere nothing is counted, and only a submission's own process group is ended.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans(on: bool = True) -> None:
    """Become the parent of all descendants that lose theirs, so that none can get away by a fork or ``setsid``."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def descendants(root: int, spare: set[int] = frozenset()) -> set[int]:
    """Return the processes below ``root`` that have not ended, without those of ``spare`` and what is below them."""
    children, ended = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(folder.name))
            if state in "ZX":
                ended.add(int(folder.name))
    found, at = set(), [root]
    while at:
        below = set(children.get(at.pop(), [])) - spare
        found.update(below)
        at += below
    return found - ended


def end_descendants(spare: set[int] = frozenset()) -> None:
    """Kill the processes below this one, and those that they start meanwhile."""
    while left := descendants(os.getpid(), spare):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def figures(pid: int | str, file: str, *names: str) -> Iterator[int]:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in names:
                yield int(value.split()[0])


def memory(pid: int | str) -> int:
    """Return the bytes of a process's own memory and of the memory that it shares."""
    return 1024 * sum(figures(pid, "status", "RssAnon", "RssShmem"))


def written(pid: int | str) -> int:
    """Return the bytes that a process has written, with those of its ended children."""
    return sum(figures(pid, "io", "wchar"))
