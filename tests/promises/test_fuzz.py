"""Hostile files: every format that is read here, damaged and cut in many ways, and attacks made by hand.

    FUZZ_CASES=100000 FUZZ_SEED=1 python -m pytest tests/promises/test_fuzz.py

tries so many damaged files. Each is read as something valid or refused with a ``UserError``. Everything else is a
failure: another exception, code that runs, more than 10 seconds, more than 2 GB. The file that failed stays in
pytest's temporary folder.
"""

import faulthandler
import io
import json
import os
import pickle
import random
import struct
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from colour.data import batch_files, cifar10, image_file, picture_folder
from colour.jobs import checkpoints
from colour.learning.pictures import PictureSet
from colour.learning.task import Classification
from colour.learning.training import Recipe, example_state, train
from colour.palette import Palette
from colour.system.cli import UserError
from colour.system.files import sha256
from colourization import MODELS
from tests.cifar import imagenet_batch, pickle2
from tests.helpers import NETWORKS, same, saved, state
from tests.old_palettes import CENTRES, HEADER, npy, pair2, plain_npy, saved_today
from tests.old_weights import pytorch03

CASES = int(os.environ.get("FUZZ_CASES", 350))
SEED = int(os.environ.get("FUZZ_SEED", 0))
SECONDS, BYTES = 10, 2 << 30

pytestmark = [pytest.mark.usefixtures("one_thread"),
              pytest.mark.filterwarnings("ignore")]  # Pillow and PyTorch warn about what is damaged

# What no file may cause: a program, a connection, an unrestricted pickle, text that is evaluated
FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen",
             "pty.spawn", "socket.connect", "pickle.find_class"}
happened: list[str] | None = None  # which of these happened while a file was read


def audit(event: str, arguments: tuple) -> None:
    evaluated = event == "exec" and "owned" in arguments[0].co_names  # as in the text that these files bring
    if happened is not None and (event in FORBIDDEN or evaluated):
        happened.append(f"{event} {arguments}"[:300])
        raise RuntimeError("not while a file is read")


sys.addaudithook(audit)  # it stays for as long as Python runs


@contextmanager
def guarded() -> Iterator[None]:
    """Fail if the block runs code or takes too much time or memory. If it hangs, Python ends with a traceback."""
    global happened
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)
    forget_peak, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if measured := sys.platform == "linux" and os.access(forget_peak, os.W_OK):
        forget_peak.write_text("5")
    happened, start = [], time.process_time()  # of this process: the machine may be busy
    try:
        yield
    finally:
        code, happened = happened, None
        faulthandler.cancel_dump_traceback_later()
        assert not code
    assert time.process_time() - start < SECONDS
    assert not measured or int(status.read_text().partition("VmHWM:")[2].split()[0]) << 10 < BYTES


def outcome(read: Callable[[Path, bytes], bytes], folder: Path, content: bytes) -> bytes | None:
    """Return what ``read`` makes of a file, None if it refuses it."""
    with guarded():
        try:
            return read(folder, content)
        except UserError as error:
            assert 0 < len(str(error).strip()) < 3000  # a message may quote a name from a sidecar


# How the formats are read. Each function checks that the result is valid, and returns it as bytes to compare.


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


TINY = state("CNN", 1, 1, 2)
TINY_FILE = saved(TINY)
TWO = PictureSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.uint8))


def tiny_network():
    return MODELS["CNN"](1, 1, 2)


TASK = Classification(Palette(np.eye(3)[:2], Path("mine.npy")))


def read_weights(folder, content):
    loaded = checkpoints.load(written(folder, "net.pkl", content))
    network, architecture = checkpoints.load_network(loaded, NETWORKS)
    assert architecture.model in NETWORKS and loaded.sidecar == {}
    weights = network.state_dict()
    assert all(torch.isfinite(value).all() for value in weights.values())
    return b"".join(value.numpy().tobytes() for name, value in weights.items() if "num_batches" not in name)


def read_sidecar(folder, content):
    path = written(folder, "tiny.pkl", TINY_FILE)
    written(folder, "tiny.json", content.replace(b"SHA256", sha256(path).encode()))
    loaded = checkpoints.load(path)
    network, architecture = checkpoints.load_network(loaded, MODELS, TASK)
    assert architecture == ("CNN", 1, 1, 2) and same(network.state_dict(), TINY)
    return json.dumps({"model": architecture.model, **loaded.sidecar}).encode()


def read_state(folder, content):
    written(folder, "net.state.pt", content)
    network = tiny_network()
    loaded = checkpoints.load_state(folder / "net.pkl")
    checkpoints.check_state(folder / "net.pkl", loaded, example_state(network, Recipe()), None, steps=10)
    with suppress(FloatingPointError):  # numbers that are not finite are found in training
        for after in train(network, TWO, TWO, Recipe(epochs=2, batch_size=1), TASK, loaded):
            assert len(after["history"]) <= 2
    return saved(loaded["model"])


def read_palette(folder, content):
    centres = Palette.load(written(folder, "palette.npy", content)).centres
    assert centres.dtype == np.float32 and centres.shape[1:] == (3,) and 2 <= len(centres) <= 256
    assert centres.min() >= 0 and centres.max() <= 1
    return centres.tobytes()


def batch_reader(length, labels):
    def read_batches(folder, content):
        kind = batch_files.Batches("batches", length, 1 << 20, labels, "get it anew")
        x, y = batch_files.read_batches([written(folder, "batch", content)], kind)
        assert x.dtype == np.uint8 and x.shape == (length or len(x), 3, 32, 32) and len(x) == len(y) > 0
        assert y.dtype == np.int64 and np.isin(y, labels).all()
        return x.tobytes() + y.tobytes()

    return read_batches


read_cifar, read_imagenet = batch_reader(2, range(10)), batch_reader(None, range(1, 1001))


def read_cached(folder, content):
    """Read pictures through a damaged cache: that is not an error, they are read again and are the same."""
    file, = picture_folder.cache_folder().iterdir()
    file.write_bytes(content)
    return b"".join(x.tobytes() for x in picture_folder.load_pictures(folder / "pictures"))


def read_picture(folder, content):
    path = written(folder, "picture", content)
    image = image_file.read(path, least=len(content) % 2 * 96 or None)
    assert image.mode in ("RGB", "RGBA") and 0 < image.width * image.height <= image_file.MAX_PIXELS
    status, small = picture_folder.shrink(str(path))
    assert small.shape == (3, 32, 32) if status == picture_folder.USED else small is None
    return image.tobytes()


# What they are damaged from


def damaged_inside(content, rng):
    """Damage one record of a zip file; all checksums are right."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        victim = rng.choice(old.namelist())
        for name in old.namelist():
            new.writestr(name, damaged(old.read(name), rng) if name == victim else old.read(name))
    return target.getvalue()


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def training_state() -> bytes:
    """Return the file of a state in the middle of an epoch."""
    after = next(train(tiny_network(), TWO, TWO, Recipe(batch_size=1), TASK, stop=lambda: 1))
    return saved({**after, "run": {"model": "CNN", "augment": ("hflip",)}})


def cache(folder):
    (folder / "pictures").mkdir()
    for i in range(24):
        Image.new("RGB", (8, 8), (10 * i, 9, 100)).save(folder / "pictures" / f"{i:02}.png")
    picture_folder.load_pictures(folder / "pictures")
    return [next(picture_folder.cache_folder().iterdir()).read_bytes()]


PICTURES: list[bytes] = []  # made once


def small_pictures(folder):
    """Return a picture of 16 x 12 in every format and mode that Pillow writes here and this project reads."""
    if PICTURES:
        return PICTURES
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))
    exif = {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}
    for kind in sorted(set(image_file._formats()) & Image.SAVE.keys()):
        for mode, how in [("RGB", exif), ("RGBA", {}), ("P", {}), ("CMYK", {}), ("1", {}),
                          ("RGB", {"save_all": True, "append_images": [rgb]}), ("RGB", {"compression": "tiff_lzw"})]:
            file = io.BytesIO()
            with suppress(OSError, ValueError, KeyError, UserError):  # not every mode in every format
                rgb.convert(mode).save(file, kind, **how)
                read_picture(folder, file.getvalue())
                PICTURES.append(file.getvalue())
    return PICTURES


class Format(NamedTuple):
    read: Callable[[Path, bytes], bytes]
    samples: Callable[[Path], list[bytes]]
    checked: bool = False  # has checksums: only what was put in may come out
    inside: bool = False  # is a zip file, of which a record can be damaged alone


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
SIDECAR = b'{"model": "CNN", "kernel": 1, "palette": "mine.npy", "history": [{"loss": 1.25}], "sha256": "SHA256"}'
FORMATS = {
    "weights": Format(read_weights, lambda _: [TINY_FILE], True, True),
    "old weights": Format(read_weights, lambda _: [saved(TINY, _use_new_zipfile_serialization=False),
                                                   pytorch03(TINY), pytorch03(TINY, unicode=True)]),
    "sidecar": Format(read_sidecar, lambda _: [SIDECAR]),
    "training state": Format(read_state, lambda _: [training_state()], True, True),
    "palette": Format(read_palette, lambda _: [plain_npy(CENTRES[:2].astype(np.float32)),
                                               npy(HEADER, pair2(CENTRES[:2])), saved_today(CENTRES[:2])]),
    "CIFAR-10": Format(read_cifar, lambda _: [pickle2(PIXELS, [3, 7])] + [
        pickle.dumps({"data": PIXELS, "labels": [3, 7]}, protocol) for protocol in (0, 2, 4, 5)]),
    "ImageNet32": Format(read_imagenet, lambda _: [imagenet_batch()]),
    "cache": Format(read_cached, cache, True, True),
    "picture": Format(read_picture, small_pictures),
}


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10, "BATCH_LENGTH", 2)


CLAIMS = [number.to_bytes(size, order) for size in (2, 4, 8) for order in ("little", "big")
          for number in (0, 1, 255, 256**size // 2 - 1, 256**size // 2, 256**size - 1)]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Replace some bytes by none, by random ones or by a number that a size may be; sometimes cut the rest off."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(min(len(content), rng.choice([60, 200, 2500, 10**9])) + 1)  # rather in the head
        new = rng.choice([b"", rng.randbytes(1), rng.randbytes(9), rng.choice(CLAIMS)])
        content[place:place + rng.choice([0, 1, len(new), len(new)])] = new
    return bytes(content[:place] if rng.random() < 0.1 else content)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name, tmp_path):
    read, samples, checked, inside = FORMATS[name]
    samples = samples(tmp_path)
    whole = [outcome(read, tmp_path, sample) for sample in samples]
    assert None not in whole
    rng = random.Random(f"{name} {SEED}")
    refused = 0
    for i in range(max(1, CASES // len(FORMATS))):
        sample, within = samples[i % len(samples)], inside and i % 2
        found = outcome(read, tmp_path, damaged_inside(sample, rng) if within else damaged(sample, rng))
        refused += found is None
        assert not checked or within or found in (None, *whole)
    assert refused or name in ("sidecar", "cache")  # damaged ones are ignored, with a warning at most


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "picture"])
def test_cut_files(name, tmp_path):
    read, samples, *_ = FORMATS[name]
    for content in samples(tmp_path):
        whole = outcome(read, tmp_path, content)
        lengths = {*range(0, len(content), 1 + len(content) // 20), *range(10), *range(len(content) - 10, len(content))}
        for length in lengths:
            found = outcome(read, tmp_path, content[:length])
            assert found in (None, whole) or name == "sidecar" and found == b'{"model": "CNN"}'  # ignored


# Attacks made by hand


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")


def old_weights(program: bytes) -> bytes:
    head = pytorch03({})
    cut = head.index(b"\x80\x02", 40)
    return head[:cut] + program + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)


def zipped(compression=zipfile.ZIP_STORED, **records: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name.replace("__", "/").replace("_npy", ".npy").replace("_pkl", ".pkl"), content)
    return file.getvalue()


def claiming(numel: bytes, byteorder=b"little", **more: bytes) -> bytes:
    """Return weights with a tensor that claims another number of floats than its record of four has."""
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + numel + b"tQK\x00K\x04\x85K\x01\x85\x89}tR"
    program = b"\x80\x02}" + text("finalconv.weight") + tensor + b"s."
    return zipped(a__data_pkl=program, a__byteorder=byteorder, a__data__0=bytes(16), a__version=b"3\n", **more)


def bomb(*names: str) -> bytes:
    """Return 64 MB of zeros in 64 KB."""
    content = npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (67108864,), }", bytes(64 << 20))
    return zipped(zipfile.ZIP_DEFLATED, **{f"{name}_npy": content for name in names})


def weights_bomb() -> bytes:
    return zipped(zipfile.ZIP_DEFLATED, a__data_pkl=b"\x80\x02}.", a__byteorder=b"little", a__version=b"3\n",
                  a__data__0=bytes(64 << 20))


def terabytes(*names: str) -> bytes:
    content = npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }", b"")
    return zipped(**{f"{name}_npy": content for name in names})


def png_in_icon(size: int) -> bytes:
    """Return an icon that says it has 16 x 16 pixels, and has many more."""
    picture = io.BytesIO()
    Image.new("L", (size, size)).save(picture, "PNG")
    content = picture.getvalue()
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, len(content), 22) + content


def texture() -> bytes:
    """Return a header without pixels; Pillow 11 takes minutes to find out."""
    picture = io.BytesIO()
    Image.new("RGB", (16, 12)).save(picture, "DDS")
    content = bytearray(picture.getvalue()[:128])
    content[12:20] = struct.pack("<2I", 7000, 7000)
    return bytes(content)


ATTACKS = {  # how it is read, the file, and the most bytes that Python may take for it
    "numbers beyond the record": (read_weights, lambda: claiming(b"M\xe8\x03", a__pad=bytes(9999)), 1 << 20),
    "bytes swapped beyond it": (read_weights, lambda: claiming(b"M\xe8\x03", b"big", a__pad=bytes(9999)), 1 << 20),
    "weights that unpack to 64 MB": (read_weights, weights_bomb, 1 << 20),
    "a terabyte in weights": (read_weights, lambda: old_weights(PROGRAM_OF_A_TERABYTE), 1 << 20),
    "a texture of 49 megapixels": (read_picture, texture, 1 << 20),
    "an icon of 64 megapixels": (read_picture, lambda: png_in_icon(8000), 4 << 20),
}
PROGRAM_OF_A_TERABYTE = b"\x80\x02}" + text("finalconv.weight") + STORAGE + b"\x8a\x06" + b"\0" * 4 + b"\0\x01tQs."


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(attack, tmp_path):
    read, make, most = ATTACKS[attack]
    content = make()
    outcome(read, tmp_path, content[:8])  # first, because imports on the way take memory too
    tracemalloc.start()
    try:
        assert outcome(read, tmp_path, content) is None
        assert tracemalloc.get_traced_memory()[1] < most + 4 * len(content)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [bomb, terabytes])
def test_cache_bomb_is_made_again(make, tmp_path):
    cache(tmp_path)
    whole = b"".join(x.tobytes() for x in picture_folder.load_pictures(tmp_path / "pictures"))
    content = make("key", "statuses", "x")
    tracemalloc.start()
    try:
        assert outcome(read_cached, tmp_path, content) == whole
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_guard_notices(monkeypatch):
    """It notices code that runs, even if its exception is caught, and too much time and memory."""
    program = pickle._Unpickler(io.BytesIO(b""))
    for run in (lambda: os.system("true"), lambda: eval("owned()"), lambda: program.find_class("os", "getcwd")):
        with pytest.raises(AssertionError), guarded(), pytest.raises(RuntimeError, match="not while"):
            run()
    with guarded():
        pass
    for limit in "SECONDS", "BYTES":
        with monkeypatch.context() as patch, pytest.raises(AssertionError), guarded():
            patch.setattr(f"{__name__}.{limit}", 0)
