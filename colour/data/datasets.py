"""The table of what --data can be. A new data set is a module that locates and loads it, and a row here."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colour.data import Split, cifar10, imagenet32, picture_folder
from colour.system.cli import UserError

DEFAULT_CATEGORY = "horse"  # in data without horses it means all pictures


class DataSet(NamedTuple):
    """One kind of data, and what --category may choose from it."""

    name: str
    given_as: str  # what --data names, for the help and for errors
    locate: Callable[[Path], Path | None]  # from the path that --data names to where the data is, None if it has none
    load: Callable[[Path], Split]  # from there
    title: str  # what a sidecar calls all the pictures; {} stands for the folder's name
    labels: range = range(0)  # what --category may be, as a number
    names: tuple[str, ...] = ()  # ... or as a name: those of labels 0, 1, ...
    palettes: str = ""  # what stands before the label in the name of a palette: cat in colour_kmeans24_cat7.npy

    def label(self, category: str | int, data_dir: str | Path | None = None) -> int | None:
        """Return the label of a category, by name or number; None for all pictures. Raises ``UserError`` if unknown."""
        text = str(category).strip().lower()
        if text in self.names:
            return self.names.index(text)
        if text in map(str, self.labels):
            return int(text)
        if text in ("all", DEFAULT_CATEGORY):
            return None
        where = f" in {data_dir}" if data_dir else ""
        names = "".join(f"{name}, " for name in self.names)
        choices = f" or give {names}a label, {self.labels[0]} to {self.labels[-1]}" if self.labels else ""
        raise UserError(f"{str(category)!r} is no category of {self.name}{where}: leave out --category{choices}")


CIFAR10 = DataSet("CIFAR-10", "the folder or the archive of CIFAR-10 (the Python version)", cifar10.locate,
                  cifar10.load, "all", range(10), cifar10.CATEGORIES, "cat")
IMAGENET32 = DataSet("ImageNet32", "a folder of ImageNet32's batch files", imagenet32.locate, imagenet32.load,
                     "ImageNet32", imagenet32.LABELS)
PICTURES = DataSet("pictures", "a folder of pictures", picture_folder.locate, picture_folder.load, "pictures in {}")
DATASETS = (CIFAR10, IMAGENET32, PICTURES)  # a folder with batch files and pictures is the first of these

GIVEN_AS = ", or ".join(dataset.given_as for dataset in DATASETS)


def add_flags(group) -> None:
    """Add the flags that choose pictures, for ``choose``."""
    group.add_argument("--data", metavar="PATH",
                       help=f"{GIVEN_AS} (default: the embedded horses; other categories come from data/)")
    group.add_argument("--category", default=DEFAULT_CATEGORY, metavar="NAME",
                       help="a CIFAR-10 category by name or number, a label of ImageNet32, or all")


class Choice(NamedTuple):
    """The pictures at ``place`` that have ``label``, or all of them if it is None."""

    dataset: DataSet
    place: Path
    label: int | None

    @property
    def name(self) -> str:
        """Return what a sidecar calls the pictures: a category of CIFAR-10, "all", or the name of other data."""
        if self.label is None:
            return self.dataset.title.format(self.place.resolve().name)
        return self.dataset.names[self.label] if self.dataset.names else f"{self.dataset.title}, label {self.label}"

    def load(self) -> Split:
        """Load them. Raises ``UserError`` if there are none to train on or to test with, or the data is damaged."""
        split = self.dataset.load(self.place)
        if self.label is not None:
            split = tuple((x[y == self.label], y[y == self.label]) for x, y in split)
        if not all(len(y) for _, y in split):
            of_category = "" if self.label is None else f" of category {self.label}"
            raise UserError(f"{self.place} has no pictures{of_category} to train on or to test with: choose another")
        return split


def choose(category: str | int = DEFAULT_CATEGORY, data_dir: str | Path | None = None) -> Choice:
    """Return what --data and --category name, without loading it. Raises ``UserError`` if it does not exist."""
    if data_dir is None:
        label = CIFAR10.label(category)
        place = cifar10.HORSES if label == cifar10.HORSE else cifar10.locate()  # the horses come with this project
        return Choice(CIFAR10, place, label)
    path = Path(data_dir)
    remedy = f"leave out --data or name {GIVEN_AS}"
    if not str(data_dir) or not path.exists():
        raise UserError(f"there is no {str(data_dir)!r}: {remedy}")
    if path.is_dir() and all(name.startswith(".") for name in os.listdir(path)):
        raise UserError(f"{path} is empty: is its drive mounted? Otherwise {remedy}")
    for dataset in DATASETS:
        if place := dataset.locate(path):
            return Choice(dataset, place, dataset.label(category, data_dir))
    raise UserError(f"there are no pictures in {path}, and no batch files that are whole: {remedy}")


def load_category(
        category: str | int = DEFAULT_CATEGORY, data_dir: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Load the pictures of one category, by name or number, or of ``"all"``: x_train, x_test as uint8 (N, 3, 32, 32).

    Without ``data_dir`` the horses come from the embedded file, other categories from CIFAR-10 in ``data/``, which is
    downloaded if need be. Raises ``UserError`` if there are no such pictures.
    """
    (x_train, _), (x_test, _) = choose(category, data_dir).load()
    return x_train, x_test
