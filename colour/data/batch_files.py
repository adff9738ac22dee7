"""Batch files, the pickles of pictures and their labels that CIFAR-10 and ImageNet32 consist of."""

import glob
import operator
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colour.system.cli import UserError, brief
from colour.system.untrusted import load_numpy_pickle

IMAGENET32_TRAIN = tuple(f"train_data_batch_{i}" for i in range(1, 11))
IMAGENET32_TEST = ("val_data",)
IMAGENET32_LABELS = range(1, 1001)
IMAGENET32_MAX_BYTES = 800 << 20  # twice the size of a batch of 128,116 pictures

PICKLE = re.compile(rb"\x80[\x02-\x05]|\(d|}q|}\(")  # how a pickled dictionary begins, the last three in protocols 0, 1

OTHER_EDITIONS = {  # data that is not read here, and the names of its files and folders
    "CIFAR-100": r"cifar-100.*|meta(\.mat)?|fine_label_names\.txt",
    "the binary edition of CIFAR-10": r"cifar-10-(binary|batches-bin).*|(data_batch_\d|test_batch)\.bin",
    "the MATLAB edition of CIFAR-10": r"cifar-10-(matlab|batches-mat).*|(data_batch_\d|test_batch)\.mat",
    "a packed edition of ImageNet32": r"imagenet32.*\.(zip|tar|tar\.gz|tgz)|(train_data_batch_\d+|val_data)\.(npz|zip)",
}


Labelled = tuple[np.ndarray, np.ndarray]  # pictures, uint8 (N, 3, 32, 32), and their labels, int64 (N,)
Split = tuple[Labelled, Labelled]  # what every data set is loaded as: to train on and to test with


class Batches(NamedTuple):
    """What the batch files of a data set must be, and what to do if one is not."""

    dataset: str
    length: int | None  # pictures in each file, None for any number
    max_bytes: int  # a larger file is refused
    labels: range
    remedy: str


def find_imagenet32(folder: Path) -> Path | None:
    """Return ``folder`` if it, or a folder up to two levels below, has a batch file of ImageNet32."""
    return folder if find_batches(folder, IMAGENET32_TRAIN + IMAGENET32_TEST) else None


def load_imagenet32(folder: str | Path) -> Split:
    """Load ImageNet32 (Chrabaszcz, Loshchilov and Hutter 2017), the pictures of ``val_data`` for testing.

    Some of the ten training batches are enough. The labels go from 1 to 1000. Raises ``UserError`` if there are no
    training or no test pictures, or a file is damaged.
    """
    batches = Batches("ImageNet32", None, IMAGENET32_MAX_BYTES, IMAGENET32_LABELS, "download it again")
    found = {path.name: path for path in reversed(find_batches(folder, IMAGENET32_TRAIN + IMAGENET32_TEST))}
    return tuple(read_batches([found[name] for name in names if name in found] or [Path(folder, names[0])], batches)
                 for names in (IMAGENET32_TRAIN, IMAGENET32_TEST))


def find_batches(top: str | Path, names: Iterable[str]) -> list[Path]:
    """Return the batch files with these names in ``top`` and up to two levels below it, the nearest first.

    Returns none unless a file begins as a pickle: other things may have such a name. Skips hidden folders.
    """
    below = sorted(glob.glob("*/", root_dir=top)) + sorted(glob.glob("*/*/", root_dir=top))
    paths = (Path(top, folder, name) for folder in ("", *below) for name in names)
    found = list(filter(os.path.isfile, paths))
    return found if any(map(_is_pickle, found)) else []


def _is_pickle(path: Path) -> bool:
    with suppress(OSError), open(path, "rb") as file:
        return bool(PICKLE.match(file.read(2)))
    return True  # reading it later says why it cannot be read


def other_edition(path: Path) -> str | None:
    """Return the name of data that is not read here, by the names of its files."""
    paths = [path.resolve(), *path.glob("*"), *path.glob("*/*"), *path.glob("*/*/*")]
    return next((edition for edition, names in OTHER_EDITIONS.items()
                 for path in paths if re.fullmatch(names, path.name, re.IGNORECASE)), None)


def read_batches(paths: Sequence[Path], batches: Batches) -> Labelled:
    """Read the pictures and labels of batch files, one file at a time beside the result.

    Raises ``UserError`` if one is missing or damaged.
    """
    size = sum(min(path.stat().st_size, batches.max_bytes) for path in paths if path.exists())
    x = np.empty((size // (3 * 32 * 32), 3, 32, 32), np.uint8)  # at least as many as there are; the rest stays unused
    y = np.empty(len(x), np.int64)
    n = 0
    for path in paths:
        pictures, labels = _read_batch(path, batches)
        part = slice(n, n := n + len(labels))
        x[part], y[part] = pictures, labels
        del pictures, labels  # before the next file is read
    return x[:n], y[:n]


def _read_batch(path: Path, batches: Batches) -> Labelled:
    dataset, length, max_bytes, numbers, remedy = batches
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"it is larger than {max_bytes >> 20} MB")
        with open(path, "rb") as file:
            batch = load_numpy_pickle(file)
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        x, y = batch["data"], np.fromiter(map(operator.index, batch["labels"]), np.int64)
        if x.shape != (length or len(x), 3 * 32 * 32) or x.dtype != np.uint8 or not len(x):
            raise ValueError(f"its data is {x.dtype} {x.shape}")
        if y.shape != (len(x),) or not np.isin(y, numbers).all():
            raise ValueError(f"its labels are not {len(x):,} numbers from {numbers[0]} to {numbers[-1]}")
    except Exception as error:  # a pickle of something else can raise anything
        raise UserError(f"{path} is missing or is not a batch of {dataset} ({brief(error)}): {remedy}") from error
    return x.reshape(-1, 3, 32, 32), y
