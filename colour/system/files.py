"""Files written whole or not at all, and locks."""

import hashlib
import os
import secrets
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

    It has a temporary name in the same folder, which is made if missing. If the block raises, ``path`` is what it was
    before and the temporary file is gone; an ``OSError`` names ``path``.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno:
            error.filename = str(path)  # of a full disk the system names no file, else the temporary one
        raise


@contextmanager
def locked(path: str | Path, waiting: str = "") -> Iterator[bool]:
    """Hold an exclusive lock on the file ``path`` and yield True, or yield False if another process holds it.

    If ``waiting`` is given, print it to standard error and wait for the other process instead. The system frees the
    lock when the process exits. Windows and some network drives have no such locks: there everybody gets it.
    """
    while True:
        with open(path, "a") as file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waiting:
                    yield False
                    return
                print(waiting, file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            except (ImportError, OSError):
                pass
            # The holder removes the file at the end, so this may lock a file that no longer exists: try again.
            if not os.path.exists(path) or os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
                continue
            try:
                yield True
            finally:
                with suppress(OSError):
                    os.unlink(path)
            return
