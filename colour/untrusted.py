"""Read files that strangers made, without running anything in them or believing a size that they claim.

numpy's pickles, ``.npy`` and ``.npz`` files, and what ``torch.save`` writes. Nothing else in this project unpickles.
"""

import io
import math
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from colour.cli import UserError, brief

MAX_TORCH_BYTES = 1 << 30  # the largest network here takes a few megabytes


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


NOT_TORCH = (  # what people take for weights: how such a file begins or what it is made of, its name, the remedy
    (rb"\s*<", "a web page", "download the file itself"),
    (rb"version https://git-lfs", "a Git LFS pointer", "run 'git lfs pull' in the repository it comes from"),
    (rb".{8}\{\s*\"", "a safetensors file", "load it with safetensors and save its tensors with torch.save"),
    (rb"[(}\]c].*\.\Z|\x80(?!.{1,12}\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.)", "a pickle that torch.save did not write",
     "save it with torch.save(model.state_dict(), FILE)"),
    (rb"[\s -~]+\Z", "a text", "download the file itself"),
)


def load_torch(path: Path, what: str):
    """Read what ``torch.save`` wrote: tensors and plain containers, on the CPU. ``what`` is expected, for messages.

    Raises ``UserError`` for a missing, damaged or foreign file, and for one that could run code.
    """
    import torch

    if not path.is_file():
        raise UserError(f"{path} is a folder, not a file of weights" if path.is_dir() else
                        f"there is no file {path}: check the name after --checkpoint, or train first")
    if not 0 < path.stat().st_size <= MAX_TORCH_BYTES:
        raise UserError(f"{path} is {'empty' if not path.stat().st_size else 'too large'}: it cannot hold {what}")
    data = path.read_bytes()
    for start, kind, remedy in NOT_TORCH:
        if re.match(start, data, re.DOTALL):
            raise UserError(f"{path} is {kind}, not {what}: {remedy}")
    if b"/constants.pkl" in data[-100_000:]:
        raise UserError(f"{path} is TorchScript, a program, not {what}: save the state dict of the model")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns about its older formats
            if data.startswith(b"PK\3\4"):
                _check_zip(data)
            # From memory, since PyTorch tries first whether a file is a tar archive, which older ones load unsafely.
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        if named := re.search(r"GLOBAL (\S+) w", str(error)):
            raise UserError(f"{path} is refused: it holds more than numbers ({named[1][:80]!r}) and could run code; "
                            "weights are saved with torch.save(model.state_dict(), FILE)") from error
        reason = brief(error) if isinstance(error, ValueError) else type(error).__name__
        raise UserError(f"{path} does not hold {what}, or is damaged ({reason}): "
                        "check that all of it was copied") from error


def _check_zip(data: bytes) -> None:
    """Raise for what PyTorch, or some version of it, does not check.

    These are bombs, folders, wrong checksums, a name twice, and tensors that claim another size than their record
    has: version 2.6 reads whatever lies behind the record in memory, and swaps its bytes.
    """
    import torch
    from torch import _weights_only_unpickler

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        sizes = {record.filename.lower(): record.file_size for record in records}
        if sum(record.file_size for record in records) > len(data):
            raise ValueError("it unpacks to more than itself")
        if len(sizes) < len(records):
            raise ValueError("it has two records of one name")
        if any(record.is_dir() or record.external_attr & 0x10 for record in records):
            raise ValueError("it has folders")  # PyTorch leaves their memory as it was
        if wrong := archive.testzip():
            raise ValueError(f"the checksum of {wrong} is wrong")
        folder = records[0].filename.partition("/")[0]
        pickled = archive.read(f"{folder}/data.pkl")

    def storage(claim):
        _, kind, key, _, numel = claim
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        size = numel * dtype.itemsize
        if size != sizes[f"{folder}/data/{key}".lower()]:
            raise ValueError(f"it claims {numel} numbers in a record of another length")
        nothing = torch.UntypedStorage(size, device="meta")  # has a size and takes no memory
        return torch.storage.TypedStorage(wrap_storage=nothing, dtype=dtype, _internal=True)

    # PyTorch's own unpickler, so that torch.load cannot understand the pickle in another way.
    unpickler = _weights_only_unpickler.Unpickler(io.BytesIO(pickled), encoding="utf-8")
    unpickler.persistent_load = storage
    unpickler.load()
