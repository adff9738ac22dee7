"""Disks that are full and folders that are closed, for real: one line, nothing half-written, nothing lost."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import activations
import colour_regression
import colourization
import load_data
from colour import kmeans
from colour.data import cifar10, picture_folder
from colour.data.cifar10 import ARCHIVE
from colour.data.datasets import Choice
from colour.jobs import checkpoints, runs
from colour.system.cli import UserError
from colour.system.files import ROOT
from colourization import CNN
from tests.helpers import contents_of, pictures_of

resource = pytest.importorskip("resource", reason="this system limits no files")


@contextmanager
def limited(folder: Path, room: int) -> Iterator[None]:
    """Within this, files may have at most ``room`` bytes, on any disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full(folder: Path, room: int) -> Iterator[None]:
    """Within this, the disk of ``folder`` has about ``room`` bytes left."""
    status = os.statvfs(folder)
    blocks = status.f_bavail - room // status.f_frsize
    (folder / ".filler").write_bytes(bytes(blocks * status.f_frsize))
    try:
        yield
    finally:
        (folder / ".filler").unlink()


@pytest.fixture(params=[limited, full])
def disk(request, tmp_path) -> Iterator[tuple[Path, Callable]]:
    """A folder, and a context in which little can be written there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param is limited:
        yield folder, limited
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder, full
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def stopped(run):
    """Check that a script's ``main`` ends with status 2 and one line, apart from what begins; return it."""

    def stopped(main: Callable, argv: list) -> str:
        status, _, error = run(main, *argv)
        lines = [line for line in error.splitlines() if not line.startswith(("k-means with", "training a"))]
        assert status == 2 and len(lines) == 1 and lines[0].startswith("error: "), lines
        return lines[0]

    return stopped


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.manual_seed(0)
    torch.save(CNN(3, 4, 24).state_dict(), tmp_path / "weights.pkl")
    return tmp_path / "weights.pkl"


@pytest.fixture
def photo(tmp_path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


TRAINING = "-f 4 -e 1 --data FEW --overwrite --checkpoint DISK/x.pkl --outdir DISK"
WRITERS = {  # the command, the file that does not fit on the disk, and the room for what comes before it
    "checkpoint": (colourization.main, TRAINING, "x.pkl", 8 << 10),
    "checkpoint of regression": (colour_regression.main, f"{TRAINING} --train", "x.pkl", 8 << 10),
    "training state": (colourization.main, TRAINING, "x.state.pt", 48 << 10),
    "strip": (colourization.main, "--valid --checkpoint WEIGHTS --data FEW --outdir DISK", "eval_FOLDER_weights.png",
              8 << 10),
    "regression strip": (colour_regression.main, "-k 3 --data FEW --outdir DISK",
                         "eval_weights_regression_cnn_k3_f32.png", 8 << 10),
    "sheet": (activations.main, "7 --checkpoint WEIGHTS --outdir DISK/act", "act7/FOLDER_weights_overview.png",
              14 << 10),
    "metrics": (colourization.main, "--valid --checkpoint WEIGHTS --data FEW --outdir OUT --metrics DISK/m.json",
                "m.json", 0),
    "palette": (kmeans.main, "-k 4 --overwrite -o DISK/p.npy", "p.npy", 0),
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk(what, disk, weights, few_files, tmp_path, monkeypatch, stopped):
    (folder, filled), (main, flags, name, room) = disk, WRITERS[what]
    if room == 0 and filled is limited:
        room = 100
    colours = pictures_of([[0, 0, 0], [64, 0, 0], [0, 128, 0], [255, 255, 255]], [8, 4, 2, 2])
    if what == "palette":  # clustering all horses takes long
        monkeypatch.setattr(Choice, "load", lambda choice: ((colours, None), (colours, None)))
    name = name.replace("FOLDER", tmp_path.name)
    old = folder / name
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"what was here before")
    words = {"WEIGHTS": str(weights), "OUT": str(tmp_path / "out"), "DISK": str(folder), "FEW": str(few_files)}
    argv = [next((word.replace(key, value) for key, value in words.items() if key in word), word)
            for word in flags.split()]
    with filled(folder, room):
        error = stopped(main, argv)
    assert "No space left" in error or "File too large" in error
    named = {"sheet": str(old.parent)}.get(what, str(old))
    assert named in error or room < 4096 and str(tmp_path) in error  # the folder itself was tried before
    assert old.read_bytes() == b"what was here before"
    assert contents_of(folder).keys() <= {name, "x.pkl", "x.json", "act7/input.png", "act7/input_grey.png",
                                          f"act7/{tmp_path.name}_weights_prediction.png"}


def test_no_room_for_a_sidecar(disk):
    folder, filled = disk
    checkpoints.save(folder / "x.pkl", {"a": torch.zeros(1)}, {"model": "UNet"})
    before = contents_of(folder)
    with filled(folder, 12 << 10), pytest.raises(OSError) as error:
        checkpoints.save(folder / "x.pkl", {"a": torch.zeros(1)}, {"history": ["x" * 1000] * 100})
    assert error.value.filename == str(folder / "x.json") and contents_of(folder) == before


def test_no_room_for_a_photo(disk, weights, photo, capsys):
    """There may be many photos: each that fails has its own line."""
    folder, filled = disk
    (folder / "photo_CNN.png").write_bytes(b"what was here before")
    argv = ["--image", str(photo), "--checkpoint", str(weights), "--outdir", str(folder)]
    with filled(folder, 8 << 10):
        assert colourization.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {photo}: ") and error.count("\n") == 1
    assert contents_of(folder) == {"photo_CNN.png": b"what was here before"}


def test_no_room_for_a_cache(disk, tmp_path, monkeypatch, capsys):
    """The pictures are read all the same."""
    folder, filled = disk
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    (tmp_path / "pictures").mkdir()
    for i in range(24):
        Image.new("RGB", (8, 8), (10 * i, 9, 100)).save(tmp_path / "pictures" / f"{i:02}.png")
    with filled(folder, 8 << 10):
        assert sum(map(len, picture_folder.load_pictures(tmp_path / "pictures"))) == 24
    warning, = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: ") and str(folder) in warning and contents_of(folder) == {}


def test_no_room_for_a_download(disk, server, archive):
    """What fits on the disk stays, and the next download goes on from there."""
    folder, filled = disk
    target = folder / ARCHIVE
    with filled(folder, 100 << 10), pytest.raises(UserError, match="No space|too large") as error:
        cifar10.download(target, server.source)
    assert "run this again to go on" in str(error.value) and str(target) in str(error.value)
    part = contents_of(folder)[f"{ARCHIVE}.part"]
    assert contents_of(folder).keys() == {f"{ARCHIVE}.part"} and archive[0].startswith(part) and part
    cifar10.download(target, server.source)
    assert contents_of(folder) == {ARCHIVE: archive[0]} and server.ranges == [None, f"bytes={len(part)}-"]


def test_no_room_to_unpack(disk, server, archive):
    folder, filled = disk
    (folder / ARCHIVE).write_bytes(archive[0])
    with filled(folder, 20 << 10), pytest.raises(OSError, match="No space|too large"):
        cifar10.load_cifar10(folder, server.source)
    assert [path.name for path in folder.iterdir()] == [ARCHIVE]


# Permissions


@pytest.fixture
def closed(weights, photo) -> Iterator[Path]:
    """A folder of somebody else. Root may open everything, so root becomes "nobody" for the time of a test."""
    cifar10.load_horses(), ThreadPool(1).close()  # these import parts of Python, which "nobody" may be unable to read
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in weights, photo:
            (folder / path.name).write_bytes(path.read_bytes())
            (folder / path.name).chmod(0)
        (folder / "open").mkdir()
        (folder / "open" / "weights.pkl").write_bytes(weights.read_bytes())
        for path, mode in (folder, 0o555), (folder / "open", 0o777), (folder / "open" / "weights.pkl", 0o666):
            path.chmod(mode)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            if root and not os.access(ROOT / "README.md", os.R_OK, effective_ids=True):
                pytest.skip("the repository lies where nobody but root may read")
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


FORBIDDEN = [  # the command, and what its one line must name
    (colourization.main, "-f 4 -e 1 --checkpoint CLOSED/x.pkl --outdir CLOSED/open", "--checkpoint"),
    (colourization.main, "-f 4 -e 1 --checkpoint CLOSED/open/x.pkl --outdir CLOSED/out", "--outdir"),
    (colour_regression.main, "--train -f 4 -e 1 --checkpoint CLOSED/x.pkl --outdir CLOSED/open", "--checkpoint"),
    (colourization.main, "--valid --checkpoint CLOSED/weights.pkl --outdir CLOSED/open", "weights.pkl"),
    (colourization.main, "--valid --checkpoint CLOSED/open/weights.pkl --outdir CLOSED", "--outdir"),
    (colourization.main, "--valid --checkpoint CLOSED/open/weights.pkl --outdir CLOSED/open --metrics CLOSED/m.json",
     "--metrics"),
    (colourization.main, "--valid --colours CLOSED/weights.pkl --outdir CLOSED/open", "weights.pkl"),
    (colourization.main, "-f 4 -e 1 --init CLOSED/weights.pkl --checkpoint CLOSED/open/x.pkl --outdir CLOSED/open",
     "weights.pkl"),
    (activations.main, "7 --checkpoint CLOSED/open/weights.pkl --outdir CLOSED/act", "--outdir"),
    (kmeans.main, "-k 4 -o CLOSED/p.npy", "-o"),
]


@pytest.mark.parametrize("main, flags, named", FORBIDDEN)
def test_no_permission(main, flags, named, closed, stopped, monkeypatch):
    monkeypatch.setattr(kmeans, "learn_palette", lambda *_: pytest.fail("worked before it looked"))
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("worked before it looked"))
    error = stopped(main, flags.replace("CLOSED", str(closed)).split())
    assert named in error and str(closed) in error and "ermission denied" in error
    assert [path.name for path in (closed / "open").iterdir()] == ["weights.pkl"]


def test_a_photo_that_may_not_be_read(closed, capsys):
    argv = "--image CLOSED/photo.png --checkpoint CLOSED/open/weights.pkl --outdir CLOSED/open"
    assert colourization.main(argv.replace("CLOSED", str(closed)).split()) == 1
    assert capsys.readouterr().err == f"error: {closed}/photo.png: Permission denied\n"


def test_nothing_is_written_in_the_repository(closed, capsys):
    """The repository belongs to somebody else too; results go elsewhere."""
    if os.access(ROOT, os.W_OK, effective_ids=True):
        pytest.skip("these tests may write there: run them as root, or from somebody else's clone")
    argv = "--valid --checkpoint CLOSED/open/weights.pkl --holdout 20 --outdir CLOSED/open --metrics CLOSED/open/m.json"
    assert colourization.main(argv.replace("CLOSED", str(closed)).split()) == 0
    assert {path.name for path in (closed / "open").iterdir()} == {"weights.pkl", "eval_open_weights.png", "m.json"}


def test_a_download_that_may_not_be_written(server, closed):
    with pytest.raises(UserError, match="Permission denied"):
        cifar10.download(closed / ARCHIVE, server.source)
    assert not list(closed.glob("cifar*"))


def test_a_closed_folder_of_data(closed, stopped):
    folder = closed / "open" / "data"
    folder.mkdir(mode=0)
    error = stopped(load_data.main, ["--data", folder])
    assert str(folder) in error and "ermission denied" in error


def test_a_closed_folder_among_pictures_is_told(closed, monkeypatch, capsys):
    folder = closed / "open"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / ".cache"))
    for i in range(24):
        Image.new("RGB", (8, 8), (10 * i, 9, 100)).save(folder / f"{i:02}.png")
    (folder / "closed").mkdir(mode=0)
    assert sum(map(len, picture_folder.load_pictures(folder))) == 24
    assert "closed: Permission denied" in capsys.readouterr().err
