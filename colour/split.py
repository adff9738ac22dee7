"""The shape in which every data set is loaded: pictures and labels, to train on and to test with."""

from typing import NamedTuple

import numpy as np


class Labelled(NamedTuple):
    x: np.ndarray  # pictures, uint8 (N, 3, 32, 32)
    y: np.ndarray  # their labels, int64 (N,)


class Split(NamedTuple):
    train: Labelled
    test: Labelled

    @classmethod
    def of_one_label(cls, x_train: np.ndarray, x_test: np.ndarray, label: int = 0) -> "Split":
        """Give all pictures, uint8 (N, 3, 32, 32), the same label."""
        return cls(*(Labelled(x, np.full(len(x), label, np.int64)) for x in (x_train, x_test)))

    def only(self, label: int) -> "Split":
        """Return the pictures that have this label."""
        return Split(*(Labelled(x[y == label], y[y == label]) for x, y in self))
