"""CIFAR-10: the horses that come with this project, and the whole data set, found or downloaded."""

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colour.data import Split, of_one_label
from colour.data.batch_files import Batches, find_batches, read_batches
from colour.system.cli import UserError, brief, progress
from colour.system.files import ROOT, locked, sha256

CATEGORIES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HORSE = CATEGORIES.index("horse")
HORSES = ROOT / "data" / "cifar10_horses.npz"
HORSES_SHA256 = "b8cfbd8ba4fdae6e5282e759f75a3f30253e90384ddf58fd5129586693356fc0"

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCHES = ("test_batch",)
BATCH_LENGTH = 10_000  # pictures in a batch file
BATCH_MAX_BYTES = 64 << 20  # twice the size of a batch
GZIP = b"\x1f\x8b"  # how the archive begins


class Source(NamedTuple):
    """An archive on the web."""

    url: str
    size: int  # bytes
    sha256: str


# Its web page states the MD5: c58f30108f718f92721af3b95e74349a.
CIFAR10 = Source("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", 170_498_071,
                 "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce")


def load_horses(path: str | Path = HORSES) -> tuple[np.ndarray, np.ndarray]:
    """Load the horses that come with this project: uint8 (5000, 3, 32, 32) for training, (1000, 3, 32, 32) for testing.

    Raises ``UserError`` if the file is missing or has changed.
    """
    if not Path(path).is_file() or sha256(path) != HORSES_SHA256:
        raise UserError(f"{path} is missing or damaged: restore it with 'git checkout data/cifar10_horses.npz'")
    with np.load(path) as arrays:
        return arrays["x_train"], arrays["x_test"]


def load_cifar10(data_dir: str | Path | None = None, source: Source = CIFAR10) -> Split:
    """Load all of CIFAR-10: ``(x_train, y_train), (x_test, y_test)``.

    The pictures are uint8 (50000, 3, 32, 32) and (10000, 3, 32, 32), the labels int64 (50000,) and (10000,) from 0
    to 9. Raises ``UserError`` if they are not where ``locate`` looks and cannot be downloaded, or are damaged.
    """
    place = locate(data_dir)
    if place is None:
        raise UserError(f"there is no CIFAR-10 in {data_dir}: name another folder, or none to have it downloaded")
    return load(place, source)


def locate(data_dir: str | Path | None = None) -> Path | None:
    """Return where CIFAR-10 is: the folder of the batch files, or the archive; None if ``data_dir`` has neither.

    ``data_dir`` is the archive under any name, or a folder with the archive, or with the folder up to two levels below.
    Where a download is allowed, the path of the archive is returned even if it does not exist yet: in ``data/``, the
    default, and where a download was begun. Any other empty folder may be a drive that is not mounted.
    """
    default = ROOT / "data"
    place = default if data_dir is None else Path(data_dir)
    if place.is_file():
        with open(place, "rb") as file:
            return place if file.read(2) == GZIP else None
    folders = Counter(path.parent for path in find_batches(place, TRAIN_BATCHES + TEST_BATCHES))
    if folders:
        return folders.most_common(1)[0][0]  # the first of those with the most batches
    archive = place / ARCHIVE
    if archive.is_file() or _part(archive).is_file() or place.resolve() == default.resolve():
        return archive
    return None


def load(place: Path, source: Source = CIFAR10) -> Split:
    """Load CIFAR-10 from where ``locate`` says, or ``HORSES``.

    The archive is downloaded if missing, verified, and unpacked beside itself.
    """
    if place == HORSES:
        return of_one_label(*load_horses(), HORSE)
    folder = place
    if not place.is_dir():
        if not place.exists():
            download(place, source)
        elif not _is_archive(place, source):
            raise UserError(f"{place} is not the CIFAR-10 archive of {source.size:,} bytes, SHA-256 "
                            f"{source.sha256[:8]}...: name a folder, or get {source.url}")
        folder = place.parent / FOLDER
        if not folder.is_dir():
            _unpack(place, folder)
    batches = Batches("CIFAR-10", BATCH_LENGTH, BATCH_MAX_BYTES, range(10), f"unpack {ARCHIVE} again")
    return tuple(read_batches([folder / name for name in names], batches) for names in (TRAIN_BATCHES, TEST_BATCHES))


def _part(archive: Path) -> Path:
    """Return the file that holds what has been downloaded so far."""
    return archive.with_name(f"{archive.name}.part")


def _is_archive(path: Path, source: Source) -> bool:
    return path.stat().st_size == source.size and sha256(path) == source.sha256


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the verified archive to ``folder``, which appears when it is complete."""
    import tarfile

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{FOLDER}.") as temporary:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(temporary, filter="data")  # which refuses whatever would lie or point outside
        except tarfile.TarError as error:
            raise UserError(f"{archive} is damaged ({brief(error)}): download it again") from error
        try:
            Path(temporary, FOLDER).rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise


def download(target: Path, source: Source = CIFAR10, timeout: float = 60) -> None:
    """Download the archive to ``target``, which appears when it is complete and verified.

    The bytes received so far are kept beside it (``_part``), and the next call continues from there. A second process
    waits for the first. Raises ``UserError``, also when the server is silent for ``timeout`` seconds.
    """
    from http.client import HTTPException

    part = _part(target)
    by_hand = f"or download {source.url} in another way and put it at {target}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock"),
                    waiting="waiting for another process that is downloading the same file"):
            if target.exists():  # downloaded while this process waited
                return
            print(f"downloading {source.url}, {source.size / 1e6:.0f} MB: this can take an hour; you may stop it at "
                  "any time, the next run resumes it", file=sys.stderr)
            _fetch(part, source, timeout)
            if not _is_archive(part, source):
                part.unlink()
                raise UserError("the download was removed because it is not the CIFAR-10 archive (its SHA-256 is "
                                f"wrong): run this again, {by_hand}")
            os.replace(part, target)
    except (OSError, HTTPException) as error:
        raise UserError(f"the download failed ({brief(error).strip('<>')}): run this again to go on, "
                        f"{by_hand}") from error


def _fetch(part: Path, source: Source, timeout: float) -> None:
    """Append the missing bytes to ``part``; start again if the server sends no ranges."""
    from urllib.request import Request, urlopen

    have = part.stat().st_size if part.exists() else 0
    if have == source.size:
        return
    request = Request(source.url, headers={"Range": f"bytes={have}-"} if 0 < have < source.size else {})
    with urlopen(request, timeout=timeout) as answer:
        have = have if answer.status == 206 else 0
        if answer.length != source.size - have:  # an error page, for example: none of it is kept
            offer = "an unknown number of" if answer.length is None else f"{answer.length:,}"
            raise OSError(f"the server offers {offer} bytes where {source.size - have:,} are missing")
        bar = progress(None, source.size, initial=have, unit="B", unit_scale=True, leave=True, disable=False)
        with open(part, "ab" if have else "wb") as file, bar:
            while block := answer.read1(1 << 16):
                bar.update(file.write(block))
    if part.stat().st_size < source.size:
        raise OSError("the connection was cut")
