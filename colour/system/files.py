"""Files written whole or not at all, and locks."""

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parent.parent.parent  # defaults are found here, whatever the working folder


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def display_path(path: str | Path) -> Path:
    """Return a path relative to the working folder if it lies there, for messages."""
    path, here = Path(path).resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under ``path`` only when it is complete and on the disk.

    It has a temporary name in the same folder, which is made if missing. A link stays a link, a file keeps its mode. If
    the block raises, ``path`` is what it was before and the temporary file is gone; an ``OSError`` names ``path``.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            with suppress(OSError):  # a new file, or a drive without modes
                shutil.copymode(target, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno:
            error.filename = str(path)  # the system names the temporary file, or none if the disk is full
        raise


@contextmanager
def locked(path: str | Path, waiting: str = "") -> Iterator[bool]:
    """Hold an exclusive lock on the file ``path`` and yield True, or yield False if another process holds it.

    If ``waiting`` is given, print it to standard error and wait for the other process instead. The system frees the
    lock when the process exits, however it ends. Some network drives have no locks: there everybody gets it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a process that is killed
    free = True
    try:
        lock.acquire(blocking=False)
    except Timeout:
        free = bool(waiting)
        if waiting:
            print(waiting, file=sys.stderr)
            lock.acquire()
    except OSError:  # no locks; where nothing can be written, writing says so
        pass
    try:
        yield free
    finally:
        if free:
            with suppress(OSError):
                os.unlink(path)  # while it is locked: whoever waits for it then locks a new file
        lock.release()
