"""A folder of pictures as a data set: 32x32 pixels, split into training and test, cached.

    python load_data.py --data FOLDER
"""

import hashlib
import os
import sys
import tempfile
import unicodedata
import warnings
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image

from colour import image_file
from colour.cli import UserError, warn
from colour.files import atomic_write
from colour.untrusted import load_npz

SIDE = 32
DECODED = 3 * SIDE  # of JPEGs, the least side: the filter that reduces it from there is better than the decoder's
FEWEST = 12
USED, GREY, UNREADABLE = range(3)  # what became of a file


class File(NamedTuple):
    """A file with the suffix of a picture."""

    test: bool  # whether it is one to test with, by ``is_test``
    name: str  # from the folder on, with slashes, in Unicode's composed form
    size: int  # bytes
    time: int  # when it was changed, in nanoseconds
    path: str


def load_pictures(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The pictures at any depth in ``folder``: x_train, x_test as uint8 (N, 3, 32, 32), each sorted by name.

    One in six, by ``is_test``, is a test picture. Those without colour, from which none can be learnt,
    and those that cannot be read are left out with a warning. What was made of the files is kept in
    ``cache_folder`` until the name, the size or the date of any file changes, or one that could not be
    read can be. Raises ``UserError`` if fewer than ``FEWEST`` are left, or none to train on or to test with.
    """
    files = find_pictures(folder)
    if not files:
        raise UserError(f"no pictures in {folder}: none of its files ends in .jpg, .png or another suffix "
                        "that Pillow reads")
    facts = PIL.__version__, SIDE, [file[:-1] for file in files]
    key = hashlib.sha256(repr(facts).encode()).digest()
    place = os.fsencode(os.path.realpath(folder))
    cache = cache_folder() / f"pictures-{hashlib.sha256(place).hexdigest()[:16]}.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, here as it would not hold for one thread alone
        x, fates = _load(cache, key, files) or _make(cache, key, files)

    too_large = f"or have more than {image_file.MAX_PIXELS // 10**6} megapixels"
    for fate, what in (UNREADABLE, f"which cannot be read {too_large}"), (GREY, "which have no colour"):
        names = sorted(files[i].name for i in np.flatnonzero(fates == fate))
        if names:
            warn(f"left out {len(names):,} of the {len(files):,} pictures in {folder}, {what}: "
                 + ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else ""))
    training = sum(not file.test for file, fate in zip(files, fates) if fate == USED)
    if len(x) < FEWEST or not 0 < training < len(x):
        raise UserError(f"{folder} has {training} pictures to train on and {len(x) - training} to test with, "
                        f"which is too few: add more in colour, at least {FEWEST} are needed")
    return x[:training], x[training:]


def find_pictures(folder: str | Path) -> list[File]:
    """The files at any depth in ``folder`` with the suffix of a picture, those to test with last; no hidden ones."""
    suffixes = image_file.suffixes()
    files = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: warn(f"{error.filename}: {error.strerror}")):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(parent, name)
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes and not name.startswith(".") and os.path.isfile(path):
                name = unicodedata.normalize("NFC", os.path.relpath(path, folder).replace(os.sep, "/"))
                status = os.stat(path)
                files.append(File(is_test(name), name, status.st_size, status.st_mtime_ns, path))
    return sorted(files)


def is_test(name: str) -> bool:
    """Whether a picture is one of the sixth to test with: by its name alone, so that adding others moves none."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % 6 == 0


def shrink(path: str) -> np.ndarray | int:
    """The middle square of a picture as uint8 (3, 32, 32), on white where transparent; or ``GREY``, ``UNREADABLE``."""
    try:
        image = image_file.read(path, least=DECODED)
    except UserError:
        return UNREADABLE
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side), reducing_gap=3)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if image_file.has_colour(pixels) else GREY


def cache_folder() -> Path:
    """Where this user's caches are, by the system's habit; the temporary folder if the environment does not say."""
    habits = {"win32": ("LOCALAPPDATA", ""), "darwin": ("HOME", "Library/Caches")}
    for variable, below in ("XDG_CACHE_HOME", ""), habits.get(sys.platform, ("HOME", ".cache")):
        if os.path.isabs(parent := os.environ.get(variable, "")):
            return Path(parent, below, "colourization")
    return Path(tempfile.gettempdir(), "colourization")


def _load(cache: Path, key: bytes, files: list[File]) -> tuple[np.ndarray, np.ndarray] | None:
    """What ``_make`` put into the cache, ``None`` if that is missing, damaged, or would now be something else."""
    try:
        arrays = load_npz(cache, max_bytes=(3 * SIDE * SIDE + 1) * len(files) + 4096)
        if arrays["key"].tobytes() != key:
            return None
        x, fates = arrays["x"], arrays["fates"]
    except Exception:  # a damaged zip fails in every way there is
        return None
    right = fates.shape == (len(files),) and x.shape == ((fates == USED).sum(), 3, SIDE, SIDE)
    if not right or not x.dtype == fates.dtype == np.uint8:
        return None
    retried = (shrink(files[i].path) for i in np.flatnonzero(fates == UNREADABLE))  # a drive may be back
    return (x, fates) if all(np.array_equal(result, UNREADABLE) for result in retried) else None


def _make(cache: Path, key: bytes, files: list[File]) -> tuple[np.ndarray, np.ndarray]:
    """Read the files: those used as uint8 (N, 3, 32, 32), and what became of each, uint8 (len(files),); cache it."""
    from tqdm import tqdm

    x = np.empty((len(files), 3, SIDE, SIDE), np.uint8)
    fates = np.empty(len(files), np.uint8)
    used = 0
    with ThreadPool() as pool:  # threads are enough: Pillow decodes and filters outside of Python's lock
        results = pool.imap(shrink, (file.path for file in files), chunksize=16)
        for i, result in enumerate(tqdm(results, "pictures", len(files), leave=False, disable=None, unit="picture")):
            if isinstance(result, int):
                fates[i] = result
            else:
                fates[i], x[used] = USED, result
                used += 1
    x = x[:used]
    try:
        with atomic_write(cache) as file:
            np.savez(file, key=np.frombuffer(key, np.uint8), fates=fates, x=x)
    except OSError as error:
        warn(f"the pictures were not cached in {cache.parent} ({error.strerror}): next time takes as long again")
    return x, fates
