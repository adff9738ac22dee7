"""Read files that strangers made, without running anything in them and without trusting the sizes that they claim.

These are numpy's pickles, ``.npy`` and ``.npz`` files, and what ``torch.save`` writes. No other module unpickles.
"""

import io
import math
import operator
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from colour.system.cli import UserError, brief, out_of_memory, show_traceback

MAX_TORCH_BYTES = 1 << 30  # the largest network here takes a few megabytes
MAX_PICKLE_BYTES = 1 << 23  # of all but the tensors: Python takes a second a megabyte; an epoch has 100 bytes


@contextmanager
def parsing(wrong: str, remedy: str) -> Iterator[None]:
    """Turn what a parser raises about a file into ``UserError("WRONG (what the parser says): REMEDY")``.

    A damaged file can make a parser raise anything. Put nothing but the parser and the checks of its result into the
    block, because a bug of ours would look like a damaged file, too: COLOUR_TRACEBACK=1 shows it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{wrong} ({brief(error)}): {remedy}") from error


@contextmanager
def skipping_damage() -> Iterator[None]:
    """Skip the rest of the block if it raises anything, for parts of a file that are not needed.

    COLOUR_TRACEBACK=1 shows what it raised.
    """
    try:
        yield
    except Exception as error:
        show_traceback(error)


# ------------------------------------------------------------------------------------------------
# Numpy's pickles. A pickle is a program: it names functions, which Python's unpickler imports and calls. Ours imports
# nothing. For the few functions with which numpy rebuilds an array it has stand-ins, which do the same, but first
# compare the size that the file claims with the data that it has.


class _Dtype:
    """Stands in for ``numpy.dtype``: numbers, booleans, strings and objects only."""

    def __init__(self, name, *_):
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biufSUO":  # others hold objects beside numbers, or numbers of any size
            raise pickle.UnpicklingError(f"arrays of {self.dtype} are not expected here")

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder(state[1] if isinstance(state[1], str) else state[1].decode())


class _Array(np.ndarray):
    """Stands in for ``numpy.ndarray``, which reads as many objects as the shape claims, even of a shorter list."""

    def __setstate__(self, state):
        version, shape, dtype, fortran, data = state
        each = 1 if dtype.dtype.hasobject else dtype.dtype.itemsize
        if math.prod(map(operator.index, shape)) * each != len(data):  # index() refuses a list, whose product is large
            raise pickle.UnpicklingError("the shape of an array does not match its data")
        super().__setstate__((version, shape, dtype.dtype, fortran, data))


def _from_buffer(data, dtype, shape, order, axes=None):
    """Stands in for the function that rebuilds an array from protocol 5."""
    flat = np.frombuffer(data, dtype.dtype)
    return flat.reshape(shape).transpose(axes) if order == "K" else flat.reshape(shape, order=order)


STAND_INS = {"numpy.ndarray": None, "numpy.dtype": _Dtype, "numeric._frombuffer": _from_buffer,
             "multiarray._reconstruct": lambda *_: _Array(0),  # its __setstate__ follows
             "multiarray.scalar": lambda dtype, data: np.frombuffer(data, dtype.dtype)[0],
             # What protocols 0 to 2 write for bytes:
             "__builtin__.bytes": lambda: b"", "_codecs.encode": lambda text, encoding: text.encode("latin1")}


class _NumpyUnpickler(pickle._Unpickler):
    """Rebuilds arrays and plain containers, and refuses any other class that the file names.

    It is Python's unpickler written in Python. The faster one in C allocates memory for any index that a file claims.
    """

    dispatch = dict(pickle._Unpickler.dispatch)
    dispatch[pickle.BYTEARRAY8[0]] = dispatch[pickle.BINBYTES8[0]]  # its own loader takes the claimed memory first

    def find_class(self, module, name):
        name = f"{module}.{name}"
        short = re.sub(r"^numpy\._?core\.", "", name)
        if short not in STAND_INS:
            raise pickle.UnpicklingError(f"it names {name[:80]!r}, which is not data")
        return STAND_INS[short]


def load_numpy_pickle(data: bytes | BinaryIO):
    """Unpickle arrays and plain containers that Python 2 or 3 wrote, in any protocol; Python 2's strings are ``bytes``.

    An open file is not read into memory as a whole. Nothing named in the data is imported or called. A damaged file
    can raise anything: see ``parsing``.
    """
    return _NumpyUnpickler(io.BytesIO(data) if isinstance(data, bytes) else data, encoding="bytes").load()


def load_npy(file: BinaryIO, size: int, allow_pickle: bool = False):
    """Load a ``.npy`` file of ``size`` bytes; with ``allow_pickle`` as ``load_numpy_pickle`` if it holds objects.

    No memory is allocated for a size that the data does not have. A damaged file can raise anything: see ``parsing``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 wrote
        old = np.lib.format.read_magic(file) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject and allow_pickle:
            return load_numpy_pickle(file)
        if math.prod(shape) * dtype.itemsize != size - file.tell():
            raise ValueError("its header does not match its data")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def load_npz(path: str | Path, max_bytes: int) -> dict[str, np.ndarray]:
    """Load the arrays of a ``.npz`` file, which may unpack to ``max_bytes``, like ``load_npy``."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        if sum(record.file_size for record in archive.infolist()) > max_bytes:
            raise ValueError(f"it unpacks to more than {max_bytes:,} bytes")
        for record in archive.infolist():
            with archive.open(record) as file:
                arrays[record.filename.removesuffix(".npy")] = load_npy(file, record.file_size)
    return arrays


# ------------------------------------------------------------------------------------------------
# What torch.save writes

LEGACY_MAGIC = rb"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\."  # torch.serialization.MAGIC_NUMBER, with which older files begin
NOT_TORCH = (  # what people take for weights: how such a file begins or what it is made of, its name, the remedy
    (rb"\s*<", "a web page", "download the file itself"),
    (rb"version https://git-lfs", "a Git LFS pointer", "run 'git lfs pull' in the repository it comes from"),
    (rb".{8}\{\s*\"", "a safetensors file", "load it with safetensors and save its tensors with torch.save"),
    (rb"[(}\]c].*\.\Z|\x80(?!.{1,12}" + LEGACY_MAGIC + rb")", "a pickle that torch.save did not write",
     "save it with torch.save(model.state_dict(), FILE)"),
    (rb"PK.*/constants\.pkl", "TorchScript, a program", "save the state dict of the model"),
    (rb"[\s -~]+\Z", "a text", "download the file itself"),
)


def load_torch(path: Path, what: str):
    """Read what ``torch.save`` wrote: tensors and plain containers, on the CPU. ``what`` is expected, for messages.

    Raises ``UserError`` for a missing, damaged or foreign file, and for one that could run code.
    """
    import torch

    if not path.is_file():
        raise UserError(f"{path} is a folder, not a file of weights" if path.is_dir() else
                        f"there is no file {path}: check the name, or train first")
    size = path.stat().st_size
    if not 0 < size <= MAX_TORCH_BYTES:
        raise UserError(f"{path} is {'too large' if size else 'empty'}: it cannot hold {what}")
    data = path.read_bytes()
    for start, kind, remedy in NOT_TORCH:
        if re.match(start, data, re.DOTALL):
            raise UserError(f"{path} is {kind}, not {what}: {remedy}")
    try:
        if data.startswith(b"PK\3\4"):
            _check_zip(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns about its older formats
            # From memory, since PyTorch tries first whether a file is a tar archive, which older ones load unsafely.
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        claimed = re.search(r"allocate (\d+) bytes", str(error))
        if out_of_memory(error) and not (claimed and int(claimed[1]) > size):
            raise
        if named := re.search(r"GLOBAL (\S+) w", str(error)):
            raise UserError(f"{path} is refused: it holds more than numbers ({named[1][:80]!r}) and could run code; "
                            "weights are saved with torch.save(model.state_dict(), FILE)") from error
        reason = brief(error) if isinstance(error, ValueError) else type(error).__name__  # PyTorch's say to trust it
        raise UserError(f"{path} does not hold {what}, or is damaged ({reason}): "
                        "check that all of it was copied") from error


def _check_zip(data: bytes) -> None:
    """Raise ``ValueError`` for what PyTorch does not check: checksums, folders, double names, and how much is unpacked.

    For a record that is marked as a folder, PyTorch 2.14 returns whatever is in memory. From version 2.10 on, it checks
    that a tensor claims no more than its record has.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        if sum(record.file_size for record in records) > len(data):
            raise ValueError("it unpacks to more than it holds")
        if any(record.file_size > MAX_PICKLE_BYTES for record in records if record.filename.endswith("data.pkl")):
            raise ValueError("it holds too many objects")
        if any(record.is_dir() or record.external_attr & 0x10 for record in records):  # 0x10 is MS-DOS's mark
            raise ValueError("a record is a folder")
        if len({record.filename.lower() for record in records}) < len(records):
            raise ValueError("two records have one name")
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} has a wrong checksum")
