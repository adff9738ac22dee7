"""Pictures to learn from, as uint8 arrays: CIFAR-10's horses or all of it, ImageNet32, or a folder of one's own.

    python load_data.py                      # look at the horses, which come with this project
    python load_data.py --category all       # fetch CIFAR-10 (170 MB) into data/ and look at it
    python load_data.py --data FOLDER        # a folder of pictures, or of ImageNet32's batch files

They are uint8 (N, 3, 32, 32), and CIFAR's in its order, so picture 7 is the same picture for everybody.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colour.batch_files import IMAGENET32_FILE, IMAGENET32_LABELS, Arrays, Batches, load_imagenet32, read_batches
from colour.cli import Parser, UserError, brief, command
from colour.files import ROOT, sha256
from colour.untrusted import load_npz

CATEGORIES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HORSE = CATEGORIES.index("horse")
HORSES = ROOT / "data" / "cifar10_horses.npz"
HORSES_MAX_BYTES = 32 << 20  # twice what they take
HORSES_SHA256 = {  # of the raw bytes of each array
    "x_train": "1c80652eb2ff6ba7c11b4ffef7eafd39579e2bba4307757d546bba48817af5d9",
    "x_test": "83eea4a15f3807217b1f3906af46e3fd97f62324acb5c70225def6e8df43892f",
}

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCHES = ("test_batch",)
BATCH_LENGTH = 10_000  # pictures in one batch file
BATCH_MAX_BYTES = 64 << 20  # twice what a batch takes: nothing larger is read or unpacked

CIFAR10_DATA, IMAGENET32_DATA, PICTURES = "CIFAR-10", "ImageNet32", "pictures"  # what --data can be


class Source(NamedTuple):
    """Where the archive is, and what it must be: bytes and SHA-256."""

    url: str
    size: int
    sha256: str


CIFAR10 = Source(  # the MD5 that its own page states is c58f30108f718f92721af3b95e74349a
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    size=170_498_071,
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)


def category_number(category: str | int) -> int | None:
    """The number 0-9 of a category given by name or number; ``None`` for ``"all"``, else ``UserError``."""
    text = str(category).strip().lower()
    if text == "all":
        return None
    for number, name in enumerate(CATEGORIES):
        if text in (name, str(number)):
            return number
    raise UserError(f"unknown category {str(category)!r}: choose one of {', '.join(CATEGORIES)}, 0 to 9, or all")


def choose(category: str | int, data_dir: str | Path | None = None) -> tuple[str, int | None]:
    """What the data at ``data_dir`` are, and the label that ``category`` has there, ``None`` for all labels.

    They are ``CIFAR10_DATA``, also where it is yet to be fetched to, ``IMAGENET32_DATA`` or ``PICTURES``. The
    default category, horse, means all that others than CIFAR-10 have. Raises ``UserError`` for an unknown one.
    """
    kind, text = _kind(data_dir), str(category).strip().lower()
    if kind == CIFAR10_DATA:
        return kind, category_number(category)
    if text in ("horse", "all"):
        return kind, None
    if kind == IMAGENET32_DATA and text in map(str, IMAGENET32_LABELS):
        return kind, int(text)
    remedy = "leave out --category" + (" or give a label, 1 to 1000" if kind == IMAGENET32_DATA else "")
    raise UserError(f"{data_dir} holds {kind}, not CIFAR-10, and no category {str(category)!r}: {remedy}")


def _kind(data_dir: str | Path | None) -> str:
    if data_dir is None or not Path(data_dir).is_dir():
        return CIFAR10_DATA
    names = {name for name in os.listdir(data_dir) if not name.startswith(".")}
    if any(map(IMAGENET32_FILE.fullmatch, names)):
        return IMAGENET32_DATA
    cifar10 = {*TRAIN_BATCHES, *TEST_BATCHES, FOLDER, ARCHIVE, f"{ARCHIVE}.part", HORSES.name}
    return PICTURES if names and not names & cifar10 else CIFAR10_DATA


def category_name(category: str | int, data_dir: str | Path | None = None) -> str:
    """What a sidecar calls the pictures: a category of CIFAR-10 by its name, "all", or which others they are."""
    kind, number = choose(category, data_dir)
    if kind == PICTURES:
        return f"pictures in {Path(data_dir).resolve().name}"
    if kind == IMAGENET32_DATA:
        return kind if number is None else f"{kind}, label {number}"
    return "all" if number is None else CATEGORIES[number]


def load_category(category: str | int = "horse", data_dir: str | Path | None = None) -> Arrays:
    """Pictures of one category by name or number, or of ``"all"``: x_train, x_test as uint8 (N, 3, 32, 32).

    Horses come from the embedded file unless ``data_dir`` is given, which may also be a folder of pictures
    (``colour.picture_folder``) or of ImageNet32's batches; see ``load_cifar10`` for the rest.
    """
    (x_train, _), (x_test, _), _ = _load(category, data_dir)
    return x_train, x_test


def load_horses(path: str | Path = HORSES) -> Arrays:
    """The embedded horses: uint8 (5000, 3, 32, 32) to train on and (1000, 3, 32, 32) to test with.

    Raises ``UserError`` if the file is missing or any byte of a picture is not what it was.
    """
    try:
        arrays = load_npz(path, max_bytes=HORSES_MAX_BYTES)
        for name, count in zip(HORSES_SHA256, (5000, 1000)):
            array = arrays[name]
            if array.shape != (count, 3, 32, 32) or array.dtype != np.uint8:
                raise ValueError(f"{name} is {array.dtype} {array.shape}")
            if hashlib.sha256(array).hexdigest() != HORSES_SHA256[name]:
                raise ValueError(f"the SHA-256 of {name} is wrong")
    except Exception as error:  # a damaged zip fails in every way there is
        raise UserError(f"{path} is missing or damaged ({brief(error)}): restore it with "
                        "'git checkout data/cifar10_horses.npz'") from error
    return arrays["x_train"], arrays["x_test"]


def load_cifar10(data_dir: str | Path | None = None, source: Source = CIFAR10) -> tuple[Arrays, Arrays]:
    """All of CIFAR-10: ``(x_train, y_train), (x_test, y_test)``.

    The pictures are uint8 (50000, 3, 32, 32) and (10000, 3, 32, 32), the labels int64 (50000,) and
    (10000,) from 0 to 9. ``find_cifar10`` says where they are looked for. Raises ``UserError`` if they
    are not there and cannot be fetched, or are damaged.
    """
    folder = find_cifar10(data_dir, source)
    batches = Batches(CIFAR10_DATA, BATCH_LENGTH, BATCH_MAX_BYTES, range(10),
                      "remove its folder and run this again to have it made anew")
    return read_batches(folder, TRAIN_BATCHES, batches), read_batches(folder, TEST_BATCHES, batches)


def _load(category: str | int, data_dir: str | Path | None) -> tuple[Arrays, Arrays, Path]:
    """(x_train, y_train), (x_test, y_test) of what ``choose`` says, and where they are; own pictures have label 0."""
    kind, number = choose(category, data_dir)
    if kind == PICTURES:
        from colour.picture_folder import load_pictures

        train, test = ((x, np.zeros(len(x), np.int64)) for x in load_pictures(data_dir))
        return train, test, Path(data_dir)
    if kind == CIFAR10_DATA and number == HORSE and data_dir is None:
        train, test = ((x, np.full(len(x), HORSE)) for x in load_horses())
        return train, test, HORSES
    folder = find_cifar10(data_dir) if kind == CIFAR10_DATA else Path(data_dir)
    train, test = load_cifar10(folder) if kind == CIFAR10_DATA else load_imagenet32(folder)
    if number is not None:
        train, test = ((x[y == number], y[y == number]) for x, y in (train, test))
    if not len(train[0]) or not len(test[0]):
        raise UserError(f"{folder} has no pictures of category {category} to train on or to test with: choose another")
    return train, test, folder


def find_cifar10(data_dir: str | Path | None = None, source: Source = CIFAR10) -> Path:
    """The folder with the batch files, made if need be.

    ``data_dir`` (default: ``data/`` here) is that folder, or holds it, or holds the archive, or is the
    archive, which is verified, then unpacked beside itself. What is nowhere is downloaded to ``data_dir``.
    """
    place = ROOT / "data" if data_dir is None else Path(data_dir)
    if data_dir is not None and not place.exists():
        raise UserError(f"there is no {place}: name a folder that exists with --data, or leave --data away")
    if any((place / name).exists() for name in TRAIN_BATCHES + TEST_BATCHES):
        return place
    archive = place if place.is_file() else place / ARCHIVE
    folder = archive.parent / FOLDER
    if folder.is_dir() and archive != place:
        return folder
    if not archive.exists():
        download(archive, source)
    elif not _is_archive(archive, source):
        remedy = "name the archive or a folder" if archive == place else "remove it, and it is downloaded again"
        raise UserError(f"{archive} is not the CIFAR-10 archive ({source.size:,} bytes, SHA-256 "
                        f"{source.sha256[:8]}...), or is damaged: {remedy}")
    if not folder.is_dir():
        _unpack(archive, folder)
    return folder


def _is_archive(path: Path, source: Source) -> bool:
    return path.stat().st_size == source.size and sha256(path) == source.sha256


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the verified archive to ``folder``, which appears when it is complete.

    Only regular files with the expected names are taken, whatever else the archive holds.
    """
    import gzip
    import tarfile
    import zlib

    batches = TRAIN_BATCHES + TEST_BATCHES
    wanted = {f"{FOLDER}/{name}": name for name in (*batches, "batches.meta", "readme.html")}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{FOLDER}.") as temporary:
        fresh = Path(temporary, FOLDER)
        fresh.mkdir()
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    if member.name in wanted and member.isreg() and member.size <= BATCH_MAX_BYTES:
                        with open(fresh / wanted[member.name], "wb") as file:
                            shutil.copyfileobj(tar.extractfile(member), file)
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError) as error:
            raise UserError(f"{archive} is damaged ({brief(error)}): remove it") from error
        if missing := [name for name in batches if not (fresh / name).exists()]:
            raise UserError(f"{archive} has no proper file {FOLDER}/{missing[0]}: remove it")
        try:
            fresh.rename(folder)
        except OSError:  # fine if another process was faster
            if not folder.is_dir():
                raise


def download(target: Path, source: Source = CIFAR10, timeout: float = 60) -> None:
    """Fetch the archive to ``target``, where it appears once it is complete and verified.

    What has arrived is kept in ``target``.part, from which the next call goes on; a second process
    waits for the first. ``timeout`` is how many seconds the server may be silent. Raises ``UserError``.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError

    part = target.with_name(target.name + ".part")
    by_hand = f"or get {source.url} in some other way and put it at {target}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.parent):
        if target.exists():  # fetched while this process waited
            return
        print(f"downloading {source.url}, {source.size / 1e6:.0f} MB: the server is slow and this can take an "
              "hour; it may be stopped at any time, the next run resumes it", file=sys.stderr)
        try:
            _fetch(part, source, timeout)
        except (OSError, HTTPException) as error:
            if isinstance(error, HTTPError):
                error.close()
            raise UserError(f"the download failed ({brief(error).strip('<>')}): run this again to go on, "
                            f"{by_hand}") from error
        if not _is_archive(part, source):
            part.unlink()
            raise UserError("the download was removed, for it is not the CIFAR-10 archive (its SHA-256 is "
                            f"wrong): run this again, {by_hand}")
        os.replace(part, target)


def _fetch(part: Path, source: Source, timeout: float) -> None:
    """Append to ``part`` what it lacks; start again where the server does not send ranges."""
    from urllib.request import Request, urlopen

    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    if have == source.size:
        return
    have = have if have < source.size else 0
    request = Request(source.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(request, timeout=timeout) as answer:
        have = have if answer.status == 206 else 0
        if answer.length != source.size - have:  # an error page, say: nothing of it is kept
            offer = "an unknown number of" if answer.length is None else f"{answer.length:,}"
            raise OSError(f"the server offers {offer} bytes where {source.size - have:,} are missing")
        with (open(part, "ab" if have else "wb") as file,
              tqdm(total=source.size, initial=have, unit="B", unit_scale=True, mininterval=0.5) as bar):
            while block := answer.read1(1 << 16):
                bar.update(file.write(block))
    if part.stat().st_size < source.size:
        raise OSError("the connection was cut")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time in, by a lock on the folder itself, which goes when its process goes.

    Windows and some network drives have no such lock: two downloads at once may spoil each other's
    ``.part`` there, which its SHA-256 shows.
    """
    handle = None
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another process that is downloading the same file", file=sys.stderr)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@command
def main(argv=None) -> None:
    parser = Parser(description="Fetch and verify the pictures, and say what is there.")
    parser.add_argument("--category", default="horse", help="name or number of a category of CIFAR-10, or all")
    parser.add_argument("--data", metavar="DIR", help="a folder of pictures, or with cifar-10-batches-py/ or its "
                        "archive, or with ImageNet32's batches (default: the embedded horses; data/ for other "
                        "categories)")
    args = parser.parse_args(argv)

    kind, _ = choose(args.category, args.data)
    (x_train, y_train), (x_test, y_test), place = _load(args.category, args.data)
    print(f"from {place}")
    for name, x in (("x_train", x_train), ("x_test", x_test)):
        print(f"{name:10} {x.dtype} {x.shape}, {x.nbytes / 1e6:.1f} MB")
    if kind == CIFAR10_DATA:
        print(f"{'category':10}  train   test")
        for number in np.unique(y_train):
            print(f"{CATEGORIES[number]:10} {(y_train == number).sum():6,} {(y_test == number).sum():6,}")


if __name__ == "__main__":
    sys.exit(main())
