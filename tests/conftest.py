"""Fixtures that several test files share. This file must stay light: the checker in tests/assignment loads it too."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from colour.system.files import ROOT

if "PYTEST_XDIST_WORKER" in os.environ:  # several tests at once: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in "SIGINT", "SIGHUP":  # in the background and under nohup they are ignored, also by programs started here
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a script's ``main`` in this process: returns its status, standard output and standard error."""

    def run(main, *argv):
        capsys.readouterr()
        try:
            status = main(list(map(str, argv)))
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def refused(run) -> Callable[..., str]:
    """Check that a script's ``main`` prints one line on standard error and ends with status 2; return the line."""

    def refused(main, *argv):
        status, out, error = run(main, *argv)
        assert status == 2 and out == ""
        assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n") and len(error) < 600
        return error

    return refused


@pytest.fixture(scope="module")
def one_thread():
    """Compute in one thread: for small tensors, several threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def few_horses():
    """The first 150 training horses with their labels, a ``PictureSet``. Do not change it."""
    import torch

    from colour.learning.pictures import PictureSet
    from colour.palette import Palette
    from load_data import load_horses

    images = load_horses()[0][:150]
    return PictureSet(torch.from_numpy(images), torch.from_numpy(Palette.load().labels(images)))


@pytest.fixture(scope="session")
def horses():
    """The training horses, an array of uint8 (5000, 3, 32, 32)."""
    from colour.data import cifar10

    return cifar10.load_horses()[0]


@pytest.fixture
def small_unet(tmp_path) -> Path:
    """The weights of a small UNet, without a sidecar."""
    import torch

    from colourization import UNet

    torch.manual_seed(0)
    torch.save(UNet(3, 4, 24).state_dict(), tmp_path / "small.pkl")
    return tmp_path / "small.pkl"


@pytest.fixture(scope="session")
def few_files(tmp_path_factory) -> Path:
    """A folder of 40 horses, 37 to train on and 3 to test with: an epoch of it takes a moment.

    From then on, caches of pictures are kept beside it.
    """
    from PIL import Image

    from load_data import load_category, load_horses

    folder = tmp_path_factory.mktemp("few") / "horses"
    folder.mkdir()
    for i, pixels in enumerate(load_horses()[0][:40]):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{i:02}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        load_category(data_dir=folder)  # which caches them, so that it does not matter which test comes first
        yield folder


@pytest.fixture
def short(few_files, tmp_path) -> tuple:
    """The flags of a training that takes a moment: a small network and few pictures."""
    return "-f", 4, "-e", 1, "--data", few_files, "--outdir", tmp_path / "out"


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """A copy of the repository, without tests and pictures, in a folder whose name is not a plain word."""
    tree = tmp_path_factory.mktemp("a copy é")
    for name in ("colour", "weights"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "retrained"))
    (tree / "data").mkdir()
    shutil.copy(ROOT / "data" / "cifar10_horses.npz", tree / "data")
    for script in ROOT.glob("*.py"):
        shutil.copy(script, tree)
    return tree


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Make a folder with small batches; return its path, the pictures and the labels."""
    from colour.data import cifar10
    from tests.cifar import SMALL, make_batches

    monkeypatch.setattr(cifar10, "BATCH_LENGTH", SMALL)
    folder = tmp_path / "data" / cifar10.FOLDER
    return folder, *make_batches(folder, SMALL)


@pytest.fixture
def archive(small):
    """Return the bytes of a small archive, the pictures and the labels; the folder itself is removed."""
    from tests.cifar import make_archive

    folder, images, labels = small
    content = make_archive(folder)
    shutil.rmtree(folder)
    return content, images, labels


@pytest.fixture
def server(archive, monkeypatch):
    """A server of that archive on this machine; a test may change how it answers."""
    from tests.cifar import Server

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(archive[0]) as server:
        yield server
        server.go.set()
        server.shutdown()
