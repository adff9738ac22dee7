"""Weights as PyTorch 0.3 wrote them on Python 2 from a GPU."""

import io
import pickle
import struct
from typing import NamedTuple

import torch

COUNTERS = [f"{block}.num_batches_tracked" for block in
            ("downconv1.2", "downconv2.2", "rfconv.1", "upconv1.2", "upconv2.2")]


class Global(NamedTuple):
    """Is pickled as a reference to something that need not exist here."""

    module: str
    name: str

    def __call__(self):
        pass


FLOAT_STORAGE = Global("torch.cuda", "FloatStorage")
REBUILD = Global("torch._utils", "_rebuild_tensor")
ORDERED_DICT = Global("collections", "OrderedDict")


class Storage(NamedTuple):
    key: str
    numbers: torch.Tensor


class Called:
    """Is pickled as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Python2Pickler(pickle._Pickler):
    """Python 2's protocol 2, where text is a byte string ('U') unless it was ``unicode`` ('X')."""

    dispatch = dict(pickle._Pickler.dispatch)

    def __init__(self, file, unicode: bool):
        super().__init__(file, protocol=2)
        self.unicode = unicode

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return "storage", FLOAT_STORAGE, value.key, "cuda:0", value.numbers.numel(), None

    def save_text(self, text):
        if self.unicode:
            return super().save_str(text)
        self.write(pickle.SHORT_BINSTRING + bytes([len(text)]) + text.encode())
        self.memoize(text)

    def save_named(self, value):
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        self.memoize(value)

    dispatch[str] = save_text
    dispatch[Global] = save_named


def pytorch03(weights: dict[str, torch.Tensor], unicode: bool = False) -> bytes:
    """Return the file that ``torch.save(model.state_dict(), f)`` wrote: without batch counters and _metadata."""
    file = io.BytesIO()

    def dump(value):
        Python2Pickler(file, unicode).dump(value)

    weights = {name: value.contiguous() for name, value in weights.items() if name not in COUNTERS}
    storages = [Storage(str(94700000000000 + 4096 * i), value.flatten()) for i, value in enumerate(weights.values())]
    dump(0x1950A86A20F9469CFC6C)
    dump(1001)
    dump({"type_sizes": {"int": 4, "long": 8, "short": 2}, "protocol_version": 1001, "little_endian": True})
    tensors = [Called(REBUILD, storage, 0, tuple(value.shape), value.stride())
               for storage, value in zip(storages, weights.values())]
    # Python 2's OrderedDict pickles as a call with a list of lists.
    dump(Called(ORDERED_DICT, [list(item) for item in zip(weights, tensors)]))
    storages.sort()
    dump([storage.key for storage in storages])
    for storage in storages:
        file.write(struct.pack("<q", storage.numbers.numel()) + storage.numbers.numpy().astype("<f4").tobytes())
    return file.getvalue()
