"""ImageNet32: 1.28 million pictures of 1,000 kinds (Chrabaszcz, Loshchilov and Hutter 2017), in batch files."""

from pathlib import Path

from colour.data import Split
from colour.data.batch_files import Batches, find_batches, read_batches

TRAIN_BATCHES = tuple(f"train_data_batch_{i}" for i in range(1, 11))
TEST_BATCHES = ("val_data",)
LABELS = range(1, 1001)
BATCHES = Batches("ImageNet32", None, 800 << 20, LABELS, "download it again")  # twice the size of the largest batch


def locate(folder: Path) -> Path | None:
    """Return ``folder`` if it, or a folder up to two levels below, has a batch file of ImageNet32."""
    return folder if find_batches(folder, TRAIN_BATCHES + TEST_BATCHES) else None


def load(folder: str | Path) -> Split:
    """Load the training batches that are there, one to ten of them, and ``val_data`` for testing.

    Raises ``UserError`` if there are no training or no test pictures, or a file is damaged.
    """
    found = {}
    for path in find_batches(folder, TRAIN_BATCHES + TEST_BATCHES):
        found.setdefault(path.name, path)  # the nearest of each name
    split = []
    for names in TRAIN_BATCHES, TEST_BATCHES:
        paths = [found[name] for name in names if name in found]
        split.append(read_batches(paths or [Path(folder, names[0])], BATCHES))  # a missing file is named
    return tuple(split)
