"""Files that can be trusted: written whole or not at all, read without running what is in them."""

import hashlib
import io
import math
import os
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

ROOT = Path(__file__).resolve().parent.parent  # defaults are found here, whatever the working folder


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shown(path: str | Path) -> Path:
    """A path as a message names it: from the working folder on, where it lies in there."""
    path, here = Path(path).resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under ``path`` only when it is complete.

    The bytes go to a temporary file in the same folder (made if missing), are flushed to the disk and
    renamed. If the block raises, ``path`` is what it was before and the temporary file is gone; an
    ``OSError`` names ``path``.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)  # mkstemp makes files private; ours are as readable as any other
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            error.filename = str(path)  # of a full disk the system names no file, else the temporary one
        raise


@contextmanager
def locked(path: str | Path) -> Iterator[bool]:
    """Whether the lock file ``path`` could be had; it is held within, and goes when its process goes, however it ends.

    Windows and some network drives have no such locks: there everybody gets it.
    """
    with open(path, "a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except (ImportError, OSError):
            pass
        # Its holder removes it at the end, so what was opened may be a file that is there no more.
        if not os.path.exists(path) or os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
            yield False
            return
        try:
            yield True
        finally:
            with suppress(OSError):
                os.unlink(path)


class _Dtype:
    """Stands in for ``numpy.dtype`` while unpickling: numbers, booleans and object only."""

    def __init__(self, name, *_):
        self.dtype = np.dtype(name.decode() if isinstance(name, bytes) else name)
        if self.dtype.kind not in "biufO":
            raise pickle.UnpicklingError(f"arrays of {self.dtype} are not expected here")

    def __setstate__(self, state):
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for ``numpy.ndarray`` while unpickling, so that no size is believed unchecked."""

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        dtype = dtype.dtype
        if isinstance(data, str):
            data = data.encode("latin1")
        if dtype.hasobject:
            array = np.empty(len(data), dtype)
            done = {}
            for i, item in enumerate(data):  # assigned at once, numpy would look into lists within lists
                array[i] = plain(item, done)
        else:
            array = np.frombuffer(data, dtype)
        self.array = array.reshape(shape, order="F" if fortran else "C")  # fails where the shape claims more


def _scalar(dtype, data):
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.dtype)[0]


def _encode(text, encoding):
    """What Python 3 pickles bytes as under protocol 2: ``_codecs.encode(text, 'latin1')``."""
    return text.encode("latin1")


class _NumpyUnpickler(pickle._Unpickler):
    """Rebuilds arrays and plain containers, nothing else: no other class can be named in the file.

    This is Python's own unpickler written in Python, not the faster one in C: that one takes memory
    for whatever index a file claims before it looks whether there is data.
    """

    dispatch = dict(pickle._Unpickler.dispatch)
    del dispatch[pickle.BYTEARRAY8[0]]  # takes the claimed memory first; numpy never writes it

    def find_class(self, module, name):
        known = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _encode}
        for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known[package, "_reconstruct"] = lambda *_: _Array()
            known[package, "scalar"] = _scalar
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {f'{module}.{name}'[:80]!r}, which is not data")
        return known[module, name]


def plain(value, done: dict | None = None):
    """What was unpickled, with arrays as ``numpy.ndarray``; what is shared is converted once."""
    done = {} if done is None else done
    if id(value) not in done:
        if isinstance(value, _Array):
            result = value.array
        elif isinstance(value, dict):
            result = {plain(key, done): plain(item, done) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            result = type(value)([plain(item, done) for item in value])
        else:
            result = value
        done[id(value)] = result
    return done[id(value)]


def load_numpy_pickle(data: bytes | BinaryIO):
    """Unpickle arrays and plain containers, as Python 2 or 3 wrote them; strings come as ``bytes``.

    A file need not fit into memory twice, as its bytes and what is made of them.
    Raises ``pickle.UnpicklingError`` for anything else, also for a truncated or malformed file;
    nothing named in the data is imported or called.
    """
    try:
        return plain(_NumpyUnpickler(io.BytesIO(data) if isinstance(data, bytes) else data, encoding="bytes").load())
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # malformed opcodes fail in every way there is
        raise pickle.UnpicklingError(f"it is damaged ({type(error).__name__}: {error})") from error


def npy_header(file: BinaryIO, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type of a ``.npy`` file of ``size`` bytes, open where it begins.

    Raises ``ValueError`` and others if it is none, or claims another number of bytes than follow.
    """
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's own about headers that Python 2 wrote
        shape, fortran_order, dtype = read_header(file)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError("its header does not match its data")
    return shape, fortran_order, dtype


def load_npz(path: str | Path, max_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file that unpacks to at most ``max_bytes``; no size that it claims takes memory before.

    Fails in every way there is, as damaged zip archives do; nothing is unpickled.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        if sum(record.file_size for record in archive.infolist()) > max_bytes:
            raise ValueError(f"it unpacks to more than {max_bytes:,} bytes")
        for record in archive.infolist():
            with archive.open(record) as file:
                npy_header(file, record.file_size)
            with archive.open(record) as file:
                arrays[record.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays
