"""A folder of pictures as a data set: 32x32 pixels, split into training and test, cached.

    python load_data.py --data FOLDER
"""

import hashlib
import os
import sys
import tempfile
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image

from colour.data import Split, image_file, of_one_label
from colour.system.cli import UserError, progress, show_traceback, warn
from colour.system.files import atomic_write
from colour.system.untrusted import load_npz, skipping_damage

SIDE = 32
DECODED = 3 * SIDE  # JPEGs are decoded no smaller: from here on our filter is better than the decoder's
FEWEST = 12
USED, GREY, UNREADABLE = range(3)  # the status of a file
THREADS = 4  # at most, because each may hold a picture of 50 megapixels: 0.2 to 0.4 GB
EDITION = 4  # raise it when the same files give other pixels: caches are made again
# Systems keep thumbnails, deleted files and older versions in folders of these names, and in hidden ones.
SYSTEM_FOLDERS = {"@eadir", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
                  "__macosx", "lost+found", "system volume information"}
HEIC = {".heic", ".heif", ".hif"}  # Pillow needs another package for these
UNREAD = {".arw", ".cr2", ".cr3", ".dds", ".dng", ".exr", ".hdr", ".ico", ".jxl", ".jxr", ".nef", ".orf", ".pcx",
          ".psb", ".psd", ".raf", ".ras", ".rw2", ".sgi", ".svg", ".tga", ".xbm", ".xcf", ".xpm"}  # named in a warning


class File(NamedTuple):
    """A file with the suffix of a picture."""

    path: str
    name: str  # path from the folder on, with slashes, in Unicode's composed form
    size: int  # bytes
    time: int  # of the last change, in nanoseconds
    test: bool  # for testing or for training, see is_test


def locate(folder: Path) -> Path | None:
    """Return ``folder`` if any file in it has the suffix of a picture."""
    suffixes = image_file.suffixes() | HEIC | UNREAD
    return folder if any(os.path.splitext(path)[1].lower() in suffixes for path in walk(folder)) else None


def load(folder: str | Path) -> Split:
    """Load the pictures in ``folder``, all with label 0."""
    return of_one_label(*load_pictures(folder))


def load_pictures(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Load the pictures at any depth in ``folder``: x_train, x_test as uint8 (N, 3, 32, 32), each sorted by name.

    One in six is a test picture, see ``is_test``. Pictures without colour and unreadable ones are left out with a
    warning. The result is kept in ``cache_folder`` until the name, size or date of a file changes, or an unreadable
    file can be read. Raises ``UserError`` if fewer than ``FEWEST`` pictures are left, or none to train or to test with.
    """
    files = find_pictures(folder)
    if not files:
        raise UserError(f"no pictures in {folder}: none of its files ends in .jpg, .png or another suffix of a picture")
    facts = EDITION, PIL.__version__, [(file.name, file.size, file.time) for file in files]
    key = hashlib.sha256(repr(facts).encode()).digest()
    place = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    cache = cache_folder() / f"pictures-{place[:16]}.npz"
    warnings.filterwarnings("ignore", module="PIL")  # before threads begin
    cached = _read_cache(cache, key, files)
    x, statuses = _read_files(cache, key, files) if cached is None else cached
    unreadable = f"which cannot be read or have more than {image_file.MAX_PIXELS // 10**6} megapixels"
    for status, why in (UNREADABLE, unreadable), (GREY, "which have no colour"):
        names = [files[i].name for i in np.flatnonzero(statuses == status)]
        _warn_left_out(names, f"of the {len(files):,} pictures", folder, why)
    training = sum(not file.test for file, status in zip(files, statuses) if status == USED)
    if len(x) < FEWEST or not 0 < training < len(x):
        raise UserError(f"{folder} has {training} pictures to train on and {len(x) - training} to test with, "
                        f"which is too few: add more in colour, at least {FEWEST} are needed")
    return x[:training], x[training:]


def find_pictures(folder: str | Path) -> list[File]:
    """Find the files at any depth in ``folder`` with the suffix of a picture, those to test with last.

    Warns of folders that cannot be read, and of pictures of kinds that are not read.
    """
    suffixes, files, heic, unread = image_file.suffixes(), [], [], []
    for path in walk(folder, onerror=lambda error: warn(f"{error.filename}: {error.strerror}")):
        name = unicodedata.normalize("NFC", os.path.relpath(path, folder).replace(os.sep, "/"))
        suffix = os.path.splitext(name)[1].lower()
        if suffix in suffixes:
            status = os.stat(path)
            files.append(File(path, name, status.st_size, status.st_mtime_ns, is_test(name)))
        elif suffix in HEIC:
            heic.append(name)
        elif suffix in UNREAD:
            unread.append(suffix)
    plural = "s" * (len(heic) > 1)
    _warn_left_out(heic, f"HEIC picture{plural}", folder, "which pillow-heif reads (pip install pillow-heif)")
    if unread:
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(Counter(unread).items()))
        warn(f"left out pictures in {folder} of kinds that are not read: {counts}")
    return sorted(files, key=lambda file: (file.test, file.name))


def walk(folder: str | Path, onerror=None) -> Iterator[str]:
    """Yield the paths of the files at any depth in ``folder``, each folder once, but no hidden ones.

    Follows links to folders, after the other folders beside them, but not to the folders above ``folder``.
    """
    seen = set(map(str, Path(os.path.realpath(folder)).parents))
    for parent, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in sorted(folders) if name[0] != "." and name.lower() not in SYSTEM_FOLDERS]
        folders.sort(key=lambda name: os.path.islink(os.path.join(parent, name)))
        paths = (os.path.join(parent, name) for name in names if not name.startswith("."))
        yield from filter(os.path.isfile, paths)


def is_test(name: str) -> bool:
    """Hash the name: one picture in six is for testing, so adding files moves none."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % 6 == 0


def shrink(path: str) -> tuple[int, np.ndarray | None]:
    """Return a file's status and, if it is USED, the middle square of its picture as uint8 (3, 32, 32).

    Transparent parts become white. A file with faults, such as a JPEG without its last bytes, is used if the square has
    all its pixels.
    """
    try:
        image = image_file.read(path, least=DECODED)
    except UserError as error:
        show_traceback(error)
        return UNREADABLE, None
    side, faulty = min(image.size), "warning" in image.info
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side), reducing_gap=3)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    pixels = np.asarray(image)
    edges = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    if faulty and any((abs(edge.astype(int) - 128) <= 2).all() for edge in edges):
        return UNREADABLE, None  # decoders leave missing parts in this grey
    return (USED, pixels.transpose(2, 0, 1)) if image_file.has_colour(pixels) else (GREY, None)


def cache_folder() -> Path:
    """Return where this user's caches are by the system's habit, or else the folder of temporary files."""
    habits = {"win32": ("LOCALAPPDATA", ""), "darwin": ("HOME", "Library/Caches")}
    for variable, below in ("XDG_CACHE_HOME", ""), habits.get(sys.platform, ("HOME", ".cache")):
        if os.path.isabs(parent := os.environ.get(variable, "")):
            return Path(parent, below, "colourization")
    return Path(tempfile.gettempdir(), "colourization")


def _warn_left_out(names: list[str], what: str, folder: str | Path, why: str) -> None:
    if names:
        warn(f"left out {len(names):,} {what} in {folder}, {why}: "
             + ", ".join(map(repr, sorted(names)[:3])) + (", ..." if len(names) > 3 else ""))


def _read_cache(cache: Path, key: bytes, files: list[File]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what ``_read_files`` cached, or None if that is missing, damaged, or out of date."""
    if not cache.exists():
        return None
    right = False
    with skipping_damage():
        arrays = load_npz(cache, max_bytes=(3 * SIDE * SIDE + 1) * len(files) + 4096)
        x, statuses = arrays["x"], arrays["statuses"]
        right = (arrays["key"].tobytes() == key and statuses.shape == (len(files),)
                 and x.shape == ((statuses == USED).sum(), 3, SIDE, SIDE) and x.dtype == statuses.dtype == np.uint8)
    if not right or any(shrink(files[i].path)[0] != UNREADABLE for i in np.flatnonzero(statuses == UNREADABLE)):
        return None  # what could not be read can be read now, as on a drive that is back
    return x, statuses


def _read_files(cache: Path, key: bytes, files: list[File]) -> tuple[np.ndarray, np.ndarray]:
    """Read the files and cache the result: those used, uint8 (N, 3, 32, 32), and all statuses, uint8 (len(files),)."""
    x = np.empty((len(files), 3, SIDE, SIDE), np.uint8)
    statuses = np.empty(len(files), np.uint8)
    used = 0
    # Threads are enough, because Pillow decodes and filters outside of Python's lock.
    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    try:
        results = pool.map(shrink, (file.path for file in files))
        for i, (status, pixels) in enumerate(progress(results, len(files), desc="pictures", unit="picture")):
            statuses[i] = status
            if status == USED:
                x[used] = pixels
                used += 1
    finally:
        pool.shutdown(cancel_futures=True)
    x = x[:used]
    try:
        with atomic_write(cache) as file:
            np.savez(file, key=np.frombuffer(key, np.uint8), statuses=statuses, x=x)
    except OSError as error:
        warn(f"the pictures were not cached in {cache.parent} ({error.strerror}): next time takes as long again")
    return x, statuses
