"""Batch files, the pickles of pictures and their labels that CIFAR-10 and ImageNet32 consist of."""

import operator
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colour.cli import UserError, brief
from colour.untrusted import load_numpy_pickle

IMAGENET32_FILE = re.compile(r"train_data_batch_(\d+)|val_data")
IMAGENET32_MAX_BYTES = 800 << 20  # twice what a batch of 128,116 pictures takes
IMAGENET32_LABELS = range(1, 1001)

Arrays = tuple[np.ndarray, np.ndarray]  # pictures, uint8 (N, 3, 32, 32), and their labels, int64 (N,)


class Batches(NamedTuple):
    """What the batch files of a data set must be, and what to do if one is not."""

    dataset: str
    length: int | None  # pictures in each, None for any number
    max_bytes: int  # nothing larger is read
    labels: range
    remedy: str


def load_imagenet32(folder: str | Path) -> tuple[Arrays, Arrays]:
    """ImageNet32 (Chrabaszcz, Loshchilov and Hutter 2017): ``(x_train, y_train), (x_test, y_test)``.

    ``folder`` holds ``val_data``, the test pictures, and ``train_data_batch_1`` to 10 or some of them; the
    labels go from 1 to 1000. Raises ``UserError`` if there is none of them or one is damaged.
    """
    batches = Batches("ImageNet32", None, IMAGENET32_MAX_BYTES, IMAGENET32_LABELS, "get it anew")
    found = filter(None, map(IMAGENET32_FILE.fullmatch, os.listdir(folder)))
    numbers = sorted(int(match[1]) for match in found if match[1])
    train = [f"train_data_batch_{number}" for number in numbers or [1]]
    return read_batches(folder, train, batches), read_batches(folder, ["val_data"], batches)


def read_batches(folder: str | Path, names: Sequence[str], batches: Batches) -> Arrays:
    """The pictures and labels of batch files, of which one at a time is in memory beside the result.

    Nothing named in the files is imported or called. Raises ``UserError`` if one is missing or damaged.
    """
    paths = [Path(folder, name) for name in names]
    size = sum(min(path.stat().st_size, batches.max_bytes) for path in paths if path.exists())
    x = np.empty((size // (3 * 32 * 32), 3, 32, 32), np.uint8)  # files hold no more; what stays unused is free
    y = np.empty(len(x), np.int64)
    n = 0
    for path in paths:
        pictures, labels = _read_batch(path, batches)
        part = slice(n, n := n + len(labels))
        x[part], y[part] = pictures, labels
        del pictures, labels
    return x[:n], y[:n]


def _read_batch(path: Path, batches: Batches) -> Arrays:
    """The pictures and labels of one batch file, a pickle that Python 2 wrote, or Python 3."""
    dataset, length, max_bytes, numbers, remedy = batches
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > max_bytes:
                raise ValueError(f"it is larger than {max_bytes >> 20} MB")
            batch = load_numpy_pickle(file)
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        x, y = batch["data"], np.fromiter(map(operator.index, batch["labels"]), np.int64)
        if x.shape != (length or len(x), 3 * 32 * 32) or x.dtype != np.uint8 or not len(x):
            raise ValueError(f"its data is {x.dtype} {x.shape}")
        if y.shape != (len(x),) or not np.isin(y, numbers).all():
            raise ValueError(f"its labels are not {len(x):,} numbers from {numbers[0]} to {numbers[-1]}")
    except (OSError, pickle.UnpicklingError, AttributeError, LookupError, TypeError, ValueError,
            ArithmeticError) as error:  # what a pickle of something else can lead to above
        raise UserError(f"{path} is missing or is not a batch of {dataset} ({brief(error)}): {remedy}") from error
    return x.reshape(-1, 3, 32, 32), y
