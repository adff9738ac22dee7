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

from colour.data import Labelled
from colour.system.untrusted import load_numpy_pickle, parsing

PICKLE = re.compile(rb"\x80[\x02-\x05]|\(d|}q|}\(")  # how a pickled dictionary begins, the last three in protocols 0, 1


class Batches(NamedTuple):
    """What the batch files of a data set must be, and what to do if one is not."""

    dataset: str
    length: int | None  # pictures in each file, None for any number
    max_bytes: int  # a larger file is refused
    labels: range
    remedy: str


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


def read_batches(paths: Sequence[Path], batches: Batches) -> Labelled:
    """Read the pictures and labels of batch files, one file after the other into the result.

    Raises ``UserError`` if one is missing or damaged.
    """
    size = sum(min(path.stat().st_size, batches.max_bytes) for path in paths if path.exists())
    x = np.empty((size // (3 * 32 * 32), 3, 32, 32), np.uint8)  # at least as many as there are; the rest stays unused
    y = np.empty(len(x), np.int64)
    n = 0
    for path in paths:
        pictures, labels = _read_batch(path, batches)
        end = n + len(labels)
        x[n:end], y[n:end] = pictures, labels
        n = end
    return x[:n], y[:n]


def _read_batch(path: Path, batches: Batches) -> Labelled:
    with parsing(f"{path} is missing or is not a batch of {batches.dataset}", batches.remedy):
        if path.stat().st_size > batches.max_bytes:
            raise ValueError(f"it is larger than {batches.max_bytes >> 20} MB")
        with open(path, "rb") as file:
            batch = load_numpy_pickle(file)
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        x, y = batch["data"], np.fromiter(map(operator.index, batch["labels"]), np.int64)
        if x.shape != (batches.length or len(x), 3 * 32 * 32) or x.dtype != np.uint8:
            raise ValueError(f"its data is {x.dtype} {x.shape}")
        first, last = batches.labels[0], batches.labels[-1]
        if y.shape != (len(x),) or y.min() < first or y.max() > last:
            raise ValueError(f"its labels are not {len(x):,} numbers from {first} to {last}")
    return x.reshape(-1, 3, 32, 32), y
