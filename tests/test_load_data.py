"""load_data: the embedded horses, batch files, the archive, and its download from a server on this machine."""

import functools
import hashlib
import io
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import load_data
from colour.cli import UserError
from load_data import CATEGORIES, FOLDER, HORSES, Source

NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
ARCHIVE = "cifar-10-python.tar.gz"
SMALL = 20  # pictures in a batch, where not 10,000 are needed


# Batch files, as Python 2 wrote them


def pickle2(images: np.ndarray, labels: list[int]) -> bytes:
    """The opcodes of Python 2's protocol 2: byte strings as 'U' and 'T', which Python 3 never writes."""
    def text(value):
        return b"U" + bytes([len(value)]) + value

    pixels = images.tobytes()
    dtype = (b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN"
             + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb")
    array = (b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + text(b"b")
             + b"\x87R(K\x01" + b"J" + struct.pack("<i", len(images)) + b"M\x00\x0c\x86" + dtype
             + b"\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb")
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (b"\x80\x02}(" + text(b"batch_label") + text(b"a batch") + text(b"labels") + numbers
            + text(b"data") + array + b"u.")


def make_batches(folder: Path, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Write the six files; return all pictures (6 * length, 3, 32, 32) and labels, the test batch last."""
    rng = np.random.default_rng(0)
    images = np.frombuffer(rng.bytes(6 * length * 3072), np.uint8).reshape(-1, 3, 32, 32)
    labels = rng.integers(0, 10, 6 * length)
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        part = slice(i * length, (i + 1) * length)
        (folder / name).write_bytes(pickle2(images[part], labels[part].tolist()))
    return images, labels


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with small batches: (its path, pictures, labels)."""
    monkeypatch.setattr(load_data, "BATCH_LENGTH", SMALL)
    folder = tmp_path / "data" / FOLDER
    return folder, *make_batches(folder, SMALL)


def assert_is(loaded, images, labels):
    (x_train, y_train), (x_test, y_test) = loaded
    assert np.array_equal(x_train, images[:-SMALL]) and np.array_equal(y_train, labels[:-SMALL])
    assert np.array_equal(x_test, images[-SMALL:]) and np.array_equal(y_test, labels[-SMALL:])


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message and message.strip()
    return message


# The embedded horses


def test_horses_are_those_of_cifar():
    x_train, x_test = load_data.load_horses()
    assert x_train.shape == (5000, 3, 32, 32) and x_test.shape == (1000, 3, 32, 32)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert (hashlib.sha256(x_train.tobytes()).hexdigest()
            == "1c80652eb2ff6ba7c11b4ffef7eafd39579e2bba4307757d546bba48817af5d9")
    assert (hashlib.sha256(x_test.tobytes()).hexdigest()
            == "83eea4a15f3807217b1f3906af46e3fd97f62324acb5c70225def6e8df43892f")


def flip_pixel(path):
    with np.load(HORSES) as file:
        arrays = dict(file)
    arrays["x_test"][999, 2, 31, 31] ^= 1
    np.savez(path, **arrays)


def swap_axes(path):
    with np.load(HORSES) as file:  # the same bytes under another shape
        np.savez(path, x_train=file["x_train"].reshape(-1, 32, 32, 3), x_test=file["x_test"])


def other_type(path):
    with np.load(HORSES) as file:
        np.savez(path, x_train=file["x_train"].view(np.int8), x_test=file["x_test"])


DAMAGES = {
    "pixel": flip_pixel,
    "shape": swap_axes,
    "dtype": other_type,
    "cut": lambda path: path.write_bytes(HORSES.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "other arrays": lambda path: np.savez(path, x=np.zeros(3)),
    "pickled": lambda path: np.savez(path, x_train=np.array([{}], dtype=object), x_test=np.zeros(1)),
    "missing": lambda path: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_horses(tmp_path, damage):
    path = tmp_path / "horses.npz"
    DAMAGES[damage](path)
    with pytest.raises(UserError, match="git checkout data/cifar10_horses.npz") as error:
        load_data.load_horses(path)
    assert str(path) in one_line(error)
    path.unlink(missing_ok=True)


# Categories


def test_category_number():
    assert [load_data.category_number(name) for name in CATEGORIES] == list(range(10))
    assert [load_data.category_number(str(i)) for i in range(10)] == list(range(10))
    assert load_data.category_number(7) == load_data.category_number(np.int64(7)) == 7
    assert load_data.category_number("Horse") == 7 and load_data.category_number("all") is None


@pytest.mark.parametrize("category", ["hrose", "", "10", "-1", 10, -1, 7.0, "07", None, True, "hors"])
def test_unknown_category(category):
    with pytest.raises(UserError, match="airplane, automobile, bird, .*truck"):
        load_data.load_category(category)


@pytest.mark.parametrize("category", ["horse", 7, "7"])
def test_horses_need_no_data_dir(category, monkeypatch):
    monkeypatch.setattr(load_data, "find_cifar10", lambda *_: pytest.fail("looked for CIFAR-10"))
    x_train, x_test = load_data.load_category(category)
    assert x_train.shape == (5000, 3, 32, 32) and x_test.shape == (1000, 3, 32, 32)


@pytest.mark.parametrize("category, number", [("cat", 3), (8, 8), ("9", 9), ("horse", 7)])
def test_category_from_folder(small, category, number):
    folder, images, labels = small
    train, test = images[:-SMALL], images[-SMALL:]
    x_train, x_test = load_data.load_category(category, folder.parent)
    assert np.array_equal(x_train, train[labels[:-SMALL] == number])
    assert np.array_equal(x_test, test[labels[-SMALL:] == number])


def test_all_categories(small):
    folder, images, _ = small
    x_train, x_test = load_data.load_category("all", str(folder.parent))
    assert np.array_equal(x_train, images[:-SMALL]) and np.array_equal(x_test, images[-SMALL:])


# The folder with the batch files


def test_full_size():
    with tempfile.TemporaryDirectory() as temporary:  # 184 MB, not kept as tmp_path would be
        images, labels = make_batches(Path(temporary, FOLDER), 10_000)
        (x_train, y_train), (x_test, y_test) = load_data.load_cifar10(temporary)
    assert x_train.shape == (50000, 3, 32, 32) and x_test.shape == (10000, 3, 32, 32)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.shape == (50000,) and y_test.shape == (10000,)
    assert y_train.dtype == y_test.dtype == np.int64
    assert np.array_equal(x_train, images[:50000]) and np.array_equal(y_train, labels[:50000])
    assert np.array_equal(x_test, images[50000:]) and np.array_equal(y_test, labels[50000:])


def test_folder_itself_or_the_one_that_holds_it(small, monkeypatch):
    folder, images, labels = small
    monkeypatch.setattr(load_data, "download", lambda *_: pytest.fail("downloaded what is there"))
    assert_is(load_data.load_cifar10(folder), images, labels)
    assert_is(load_data.load_cifar10(str(folder.parent)), images, labels)
    monkeypatch.chdir(folder)
    assert_is(load_data.load_cifar10("."), images, labels)
    monkeypatch.setattr(load_data, "ROOT", folder.parent.parent)
    assert_is(load_data.load_cifar10(), images, labels)


@pytest.mark.parametrize("key", [str, str.encode])
def test_batches_that_python3_wrote(small, key):
    folder, images, labels = small
    batch = {key("data"): images[:SMALL].reshape(SMALL, -1), key("labels"): labels[:SMALL].tolist()}
    (folder / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    assert_is(load_data.load_cifar10(folder), images, labels)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["whole", "labels", "data"])
def test_hostile_batch_runs_nothing(small, tmp_path, place):
    folder, images, labels = small
    batch = {"data": images[:SMALL].reshape(SMALL, -1), "labels": labels[:SMALL].tolist()}
    batch = Hostile(tmp_path / "owned") if place == "whole" else {**batch, place: Hostile(tmp_path / "owned")}
    (folder / "data_batch_2").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(UserError, match="data_batch_2 "):
        load_data.load_cifar10(folder)
    assert not (tmp_path / "owned").exists()


def batch_with(**changes) -> bytes:
    batch = {"data": np.zeros((SMALL, 3072), np.uint8), "labels": [0] * SMALL, **changes}
    return pickle.dumps({key: value for key, value in batch.items() if value is not None}, protocol=2)


GOOD = pickle2(np.zeros((SMALL, 3, 32, 32), np.uint8), [0] * SMALL)
BAD_BATCHES = {
    "cut": GOOD[:len(GOOD) // 2],
    "empty": b"",
    "text": b"<html>not found</html>",
    "number": pickle.dumps(7, protocol=2),
    "list": pickle.dumps([1, 2], protocol=2),
    "few pictures": batch_with(data=np.zeros((SMALL - 1, 3072), np.uint8)),
    "one picture": batch_with(data=np.zeros((1, 3072), np.uint8)),
    "transposed": batch_with(data=np.zeros((3072, SMALL), np.uint8)),
    "floats": batch_with(data=np.zeros((SMALL, 3072), np.float32)),
    "no array": batch_with(data=[[0] * 3072] * SMALL),
    "no data": batch_with(data=None),
    "no labels": batch_with(labels=None),
    "label 10": batch_with(labels=[0] * (SMALL - 1) + [10]),
    "label -1": batch_with(labels=[0] * (SMALL - 1) + [-1]),
    "huge label": batch_with(labels=[0] * (SMALL - 1) + [1 << 70]),
    "fractional label": batch_with(labels=[0] * (SMALL - 1) + [1.5]),
    "one label": batch_with(labels=[0]),
    "many labels": batch_with(labels=[0] * (SMALL + 1)),
    "nested labels": batch_with(labels=[[0]] * SMALL),
    "no list of labels": batch_with(labels=0),
}


@pytest.mark.parametrize("bad", BAD_BATCHES)
def test_bad_batch_is_named(small, bad):
    folder = small[0]
    (folder / "data_batch_4").write_bytes(BAD_BATCHES[bad])
    with pytest.raises(UserError) as error:
        load_data.load_cifar10(folder)
    assert str(folder / "data_batch_4") in one_line(error)


def test_good_batch_is_good(small):
    (small[0] / "data_batch_4").write_bytes(GOOD)  # so that each bad one above is bad for its own reason
    (small[0] / "data_batch_5").write_bytes(batch_with())
    (x_train, _), _ = load_data.load_cifar10(small[0])
    assert not x_train[3 * SMALL:].any()


def test_missing_and_oversized_batch(small, monkeypatch):
    folder = small[0]
    with open(folder / "data_batch_3", "r+b") as file:
        file.truncate((64 << 20) + 1)  # sparse: takes no disk
    with pytest.raises(UserError, match="data_batch_3 .*64 MB"):
        load_data.load_cifar10(folder)
    (folder / "data_batch_3").unlink()
    with pytest.raises(UserError, match="data_batch_3 "):
        load_data.load_cifar10(folder.parent)


# ImageNet32


@pytest.fixture
def imagenet(tmp_path):
    """A folder with three batches of other sizes and val_data: (its path, pictures, labels of each)."""
    folder, rng = tmp_path / "imagenet", np.random.default_rng(0)
    folder.mkdir()
    parts = {}
    for protocol, (name, count) in enumerate([("train_data_batch_1", 7), ("train_data_batch_10", 9),
                                              ("train_data_batch_2", 8), ("val_data", 5)], start=1):
        images = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [1, 1000, 7, *rng.integers(1, 1001, count - 3).tolist()]
        batch = {"data": images, "labels": labels, "mean": images.mean(axis=0)}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
        parts[name] = images.reshape(-1, 3, 32, 32), labels
    return folder, parts


def test_imagenet32(imagenet, monkeypatch):
    folder, parts = imagenet
    monkeypatch.setattr(load_data, "find_cifar10", lambda *_: pytest.fail("looked for CIFAR-10"))
    x_train, x_test = load_data.load_category("horse", folder)  # the default category, which it has not: all
    train = [parts[f"train_data_batch_{i}"] for i in (1, 2, 10)]
    assert x_train.dtype == x_test.dtype == np.uint8
    assert np.array_equal(x_train, np.concatenate([images for images, _ in train]))
    assert np.array_equal(x_test, parts["val_data"][0])
    (_, y_train), (_, y_test) = load_data.load_imagenet32(folder)
    assert y_train.tolist() == sum((labels for _, labels in train), []) and y_test.tolist() == parts["val_data"][1]
    assert load_data.category_name("horse", folder) == load_data.category_name("all", folder) == "ImageNet32"

    (folder / "train_data_batch_2").unlink()
    assert len(load_data.load_category("all", str(folder))[0]) == 16


def test_label_of_imagenet32(imagenet):
    folder, parts = imagenet
    x_train, x_test = load_data.load_category("7", folder)
    images, labels = parts["train_data_batch_1"]
    assert np.array_equal(x_train[0], images[2]) and len(x_train) >= 3 and len(x_test) >= 1
    assert load_data.category_name(7, folder) == "ImageNet32, label 7"
    absent = next(i for i in range(1, 1001) if all(i not in labels for _, labels in parts.values()))
    with pytest.raises(UserError, match=f"no pictures of category {absent} "):
        load_data.load_category(absent, folder)


@pytest.mark.parametrize("category", ["cat", "0", "1001", "-1", "7.0", ""])
def test_unknown_label_of_imagenet32(imagenet, category):
    with pytest.raises(UserError, match="leave out --category or give a label, 1 to 1000") as error:
        load_data.load_category(category, imagenet[0])
    assert str(imagenet[0]) in one_line(error)


def imagenet_batch(**changes) -> bytes:
    return pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2, 3], **changes}, protocol=3)


BAD_IMAGENET_BATCHES = {
    "cut": imagenet_batch()[:-100], "empty": b"", "label 0": imagenet_batch(labels=[1, 2, 0]),
    "label 1001": imagenet_batch(labels=[1, 2, 1001]), "few labels": imagenet_batch(labels=[1, 2]),
    "no pictures": imagenet_batch(data=np.zeros((0, 3072), np.uint8), labels=[]),
    "larger pictures": imagenet_batch(data=np.zeros((3, 12288), np.uint8)),
    "too long a claim": b"\x80\x04}\x8c\x04data\x8e" + struct.pack("<Q", 1 << 50) + b"x",
}


@pytest.mark.parametrize("name", ["train_data_batch_2", "val_data"])
@pytest.mark.parametrize("bad", BAD_IMAGENET_BATCHES)
def test_bad_batch_of_imagenet32_is_named(imagenet, bad, name):
    path = imagenet[0] / name
    path.write_bytes(BAD_IMAGENET_BATCHES[bad])
    with pytest.raises(UserError, match="is not a batch of ImageNet32") as error:
        load_data.load_category("all", imagenet[0])
    assert str(path) in one_line(error)


def test_hostile_batch_of_imagenet32_runs_nothing(imagenet, tmp_path):
    (imagenet[0] / "val_data").write_bytes(imagenet_batch(mean=Hostile(tmp_path / "owned")))
    with pytest.raises(UserError, match="val_data "):
        load_data.load_category("all", imagenet[0])
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("gone", [["val_data"], [f"train_data_batch_{i}" for i in (1, 2, 10)]])
def test_missing_part_of_imagenet32(imagenet, gone):
    for name in gone:
        (imagenet[0] / name).unlink()
    with pytest.raises(UserError, match="is missing") as error:
        load_data.load_category("all", imagenet[0])
    assert str(imagenet[0] / gone[0]) in one_line(error)


def test_oversized_batch_of_imagenet32(imagenet):
    with open(imagenet[0] / "train_data_batch_2", "r+b") as file:
        file.truncate((800 << 20) + 1)  # sparse: takes no disk
    with pytest.raises(UserError, match="train_data_batch_2 .*larger than 800 MB"):
        load_data.load_category("all", imagenet[0])


def test_memory_of_imagenet32(tmp_path):
    """What the pictures take, and one batch."""
    size = 4000 * 3072
    for name in ("train_data_batch_1", "train_data_batch_2", "val_data"):
        batch = {"data": np.ones((4000, 3072), np.uint8), "labels": [1] * 4000}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=4))
    tracemalloc.start()
    load_data.load_category("all", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4.2 * size


def test_main_imagenet32(imagenet, capsys):
    assert load_data.main(["--data", str(imagenet[0])]) == 0
    out = capsys.readouterr().out
    assert str(imagenet[0]) in out and "(24, 3, 32, 32)" in out and "(5, 3, 32, 32)" in out and "horse" not in out


# What lies in a folder


@pytest.mark.parametrize("content, kind", [
    ([], "CIFAR-10"), ([".DS_Store"], "CIFAR-10"), ([ARCHIVE], "CIFAR-10"), ([f"{ARCHIVE}.part"], "CIFAR-10"),
    ([FOLDER, "cat.png"], "CIFAR-10"), (["test_batch"], "CIFAR-10"), (["cifar10_horses.npz"], "CIFAR-10"),
    (["train_data_batch_3"], "ImageNet32"), (["val_data", "readme"], "ImageNet32"),
    (["cat.png"], "pictures"), (["notes.txt"], "pictures"), (["train"], "pictures"),
    (["train_data_batch_3.zip"], "pictures")])
def test_what_lies_in_a_folder(tmp_path, content, kind):
    for name in content:
        (tmp_path / name).touch()
    assert load_data.choose("all", tmp_path) == (kind, None)
    assert load_data.choose("horse", tmp_path) == (kind, 7 if kind == "CIFAR-10" else None)


def test_pictures_have_no_category(tmp_path, monkeypatch):
    (tmp_path / "holiday" / "a").mkdir(parents=True)
    for category in ("horse", "HORSE", "all"):
        assert load_data.category_name(category, tmp_path / "holiday") == "pictures in holiday"
    monkeypatch.chdir(tmp_path / "holiday")
    assert load_data.category_name("horse", ".") == "pictures in holiday"
    for category in ("cat", "7", "unicorn"):
        with pytest.raises(UserError, match="leave out --category$") as error:
            load_data.load_category(category, tmp_path / "holiday")
        assert str(tmp_path / "holiday") in one_line(error)


# The archive


def make_archive(folder: Path, *extra: tuple[tarfile.TarInfo, bytes], without=()) -> bytes:
    """The folder packed as CIFAR-10's is, with further members first."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as tar:
        for member, content in extra:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        tar.add(folder, FOLDER, filter=lambda info: None if Path(info.name).name in without else info)
    return stream.getvalue()


def source_of(content: bytes, url="http://127.0.0.1:9/none") -> Source:
    return Source(url, len(content), hashlib.sha256(content).hexdigest())


def member(name: str, kind=tarfile.REGTYPE, link="") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.fixture
def archive(small):
    """The bytes of a small archive; the folder it was made of is gone."""
    folder, images, labels = small
    content = make_archive(folder)
    shutil.rmtree(folder)
    return content, images, labels


@pytest.mark.parametrize("name", [ARCHIVE, "mine.tgz"])
def test_archive_is_unpacked(archive, tmp_path, name):
    content, images, labels = archive
    path = tmp_path / "data" / name
    path.write_bytes(content)
    assert_is(load_data.load_cifar10(path, source=source_of(content)), images, labels)
    assert sorted(os.listdir(path.parent)) == sorted([FOLDER, name])
    path.write_bytes(b"")  # the folder is used from now on
    assert_is(load_data.load_cifar10(path.parent, source=source_of(content)), images, labels)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:99] + b"x" + b[100:]])
def test_damaged_archive_is_not_opened(archive, tmp_path, monkeypatch, damage):
    content = archive[0]
    path = tmp_path / "data" / ARCHIVE
    path.write_bytes(damage(content))
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("opened an archive that is not the right one"))
    for data_dir in (path, path.parent):
        with pytest.raises(UserError, match="is not the CIFAR-10 archive") as error:
            load_data.load_cifar10(data_dir, source=source_of(content))
        assert str(path) in one_line(error)
    assert os.listdir(path.parent) == [ARCHIVE]  # the user's file is the user's to remove


def test_named_archive_is_verified_beside_its_folder(small):
    path = small[0].parent / "mine.tgz"
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="mine.tgz is not the CIFAR-10 archive"):
        load_data.load_cifar10(path)


def test_hostile_members_stay_in_the_archive(small, tmp_path):
    folder, images, labels = small
    outside = tmp_path / "outside"
    content = make_archive(
        folder,
        (member("../evil"), b"evil"),
        (member("../test_batch"), b"evil"),
        (member(f"{FOLDER}/../../evil"), b"evil"),
        (member(str(tmp_path / "evil")), b"evil"),
        (member(FOLDER, tarfile.SYMTYPE, str(outside)), b""),
        (member(f"{FOLDER}/data_batch_1", tarfile.SYMTYPE, str(outside / "evil")), b""),
        (member(f"{FOLDER}/data_batch_2", tarfile.LNKTYPE, "/etc/hostname"), b""),
        (member(f"{FOLDER}/test_batch", tarfile.FIFOTYPE), b""),
        (member(f"{FOLDER}/extra"), b"evil"),
    )
    outside.mkdir()
    shutil.rmtree(folder)
    (tmp_path / "data" / ARCHIVE).write_bytes(content)
    assert_is(load_data.load_cifar10(tmp_path / "data", source=source_of(content)), images, labels)
    assert sorted(os.listdir(tmp_path)) == ["data", "outside"] and not list(outside.iterdir())
    assert sorted(os.listdir(tmp_path / "data")) == [FOLDER, ARCHIVE]
    assert sorted(os.listdir(folder)) == NAMES
    assert all(file.is_file() and not file.is_symlink() for file in folder.iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, None])
def test_archive_without_a_regular_batch(small, tmp_path, kind):
    folder = small[0]
    extra = [(member(f"{FOLDER}/data_batch_1", kind, "/etc/hostname"), b"")] if kind else []
    content = make_archive(folder, *extra, without=["data_batch_1"])
    shutil.rmtree(folder)
    (tmp_path / "data" / ARCHIVE).write_bytes(content)
    with pytest.raises(UserError, match=f"{FOLDER}/data_batch_1"):
        load_data.load_cifar10(tmp_path / "data", source=source_of(content))
    assert os.listdir(tmp_path / "data") == [ARCHIVE]


def test_oversized_member_is_not_unpacked(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(load_data, "BATCH_MAX_BYTES", 1000)
    (tmp_path / "data" / ARCHIVE).write_bytes(archive[0])
    with pytest.raises(UserError, match="data_batch_1"):
        load_data.load_cifar10(tmp_path / "data", source=source_of(archive[0]))
    assert os.listdir(tmp_path / "data") == [ARCHIVE]


# The download


class Server(ThreadingHTTPServer):
    """Serves ``content`` under any path as ``behave`` says; ``ranges`` are the Range headers received."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, content):
        self.content, self.behave, self.ranges, self.go = content, answer, [], threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        self.source = source_of(content, f"http://127.0.0.1:{self.server_port}/{ARCHIVE}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        self.server.behave(self, self.server.content)

    def log_message(self, *_):
        pass


def answer(handler, content, *, ranges=True, end=None, length=None):
    """Answer well; or ignore ranges, stop sending at byte ``end``, state another length (or none: -1)."""
    start = int(handler.headers["Range"][6:-1]) if ranges and "Range" in handler.headers else 0
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if length != -1:
        handler.send_header("Content-Length", str(length or len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:end])


def cut(handler, content):
    answer(handler, content, end=len(content) // 2)


def stall(handler, content):
    cut(handler, content)
    handler.server.go.wait(20)


def silent(handler, content):
    handler.server.go.wait(20)


def reset(handler, content):
    cut(handler, content)
    time.sleep(0.2)  # let the client read what was sent: a reset discards it
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)
    os.close(handler.connection.detach())


def slam(handler, content):
    handler.connection.close()


def ignore_range(handler, content):
    answer(handler, content, ranges=False)


def page(handler, content):
    answer(handler, b"<html>Sign in to the network</html>", ranges=False)


def page_without_length(handler, content):
    answer(handler, b"<html>Sign in to the network</html>", ranges=False, length=-1)


def wrong_bytes(handler, content):
    answer(handler, content[:-1] + b"x")


def redirect(place):
    def behave(handler, content):
        if handler.path != f"/{ARCHIVE}":
            return answer(handler, content)
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


def status(code):
    return lambda handler, content: handler.send_error(code)


@pytest.fixture
def server(archive, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(archive[0]) as server:
        yield server
        server.go.set()
        server.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / ARCHIVE


@pytest.fixture
def part(target):
    return target.with_name(ARCHIVE + ".part")


def files(target) -> list[str]:
    return sorted(os.listdir(target.parent))


def test_first_use_downloads(server, archive, target, capsys):
    content, images, labels = archive
    assert_is(load_data.load_cifar10(target.parent, source=server.source), images, labels)
    assert target.read_bytes() == content and server.ranges == [None]
    assert files(target) == [FOLDER, ARCHIVE]
    assert_is(load_data.load_cifar10(target.parent, source=server.source), images, labels)
    assert len(server.ranges) == 1
    printed = capsys.readouterr()
    assert "an hour" in printed.err and "resume" in printed.err and "100%" in printed.err
    assert printed.out == ""


def test_data_folder_of_the_project_is_made(server, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(load_data, "ROOT", tmp_path / "clone")
    assert_is(load_data.load_cifar10(source=server.source), *archive[1:])
    assert (tmp_path / "clone" / "data" / ARCHIVE).exists()


@pytest.mark.parametrize("failure", [cut, reset, stall])
def test_interrupted_download_resumes(server, archive, target, part, failure):
    content, half = archive[0], len(archive[0]) // 2
    server.behave = failure
    started = time.monotonic()
    with pytest.raises(UserError, match="run this again to go on") as error:
        load_data.download(target, server.source, timeout=0.5)
    assert time.monotonic() - started < 5
    assert server.source.url in one_line(error) and str(target) in str(error.value)
    assert files(target) == [part.name] and part.read_bytes() == content[:half]

    server.behave = answer
    load_data.download(target, server.source)
    assert server.ranges == [None, f"bytes={half}-"]
    assert files(target) == [ARCHIVE] and target.read_bytes() == content


def test_server_that_ignores_ranges(server, archive, target, part):
    server.behave = ignore_range
    part.write_bytes(archive[0][:1000])
    load_data.download(target, server.source)
    assert server.ranges == ["bytes=1000-"]
    assert files(target) == [ARCHIVE] and target.read_bytes() == archive[0]


def test_redirected_download(server, archive, target, part):
    server.behave = redirect("/elsewhere")
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(archive[0][:1000])
    load_data.download(target, server.source)
    assert server.ranges == ["bytes=1000-"] * 2 and target.read_bytes() == archive[0]


@pytest.mark.parametrize("extra, requests", [(b"", []), (b"x", [None])])
def test_part_that_is_complete_or_too_long(server, archive, target, part, extra, requests):
    part.write_bytes(archive[0] + extra)
    load_data.download(target, server.source)
    assert files(target) == [ARCHIVE] and target.read_bytes() == archive[0] and server.ranges == requests


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("failure, reason", [
    (status(404), "404"), (status(503), "503"), (page, "35 bytes"), (page_without_length, "an unknown number of bytes"),
    (silent, "timed out"), (slam, "closed|reset"),
    (functools.partial(answer, length=10**6), "1,000,000 bytes"), (functools.partial(answer, length=7), "7 bytes"),
    (redirect(f"/{ARCHIVE}"), "redirect"), (redirect("file:///etc/hostname"), "not allowed"),
    (redirect("http://127.0.0.1:9/"), "refused")])
def test_failed_download_adds_nothing(server, archive, target, part, failure, reason, started):
    if started:
        part.write_bytes(archive[0][:1000])
    server.behave = failure
    began = time.monotonic()
    with pytest.raises(UserError, match=reason) as error:
        load_data.load_cifar10(target.parent, source=server.source) if failure is not silent else (
            load_data.download(target, server.source, timeout=0.5))
    assert time.monotonic() - began < 5
    assert str(target) in one_line(error) and server.source.url in str(error.value)
    assert files(target) == ([part.name] if started else [])
    assert not started or part.read_bytes() == archive[0][:1000]


@pytest.mark.parametrize("prefix", [b"", b"what another program left here"])
def test_wrong_bytes_are_removed(server, archive, target, part, prefix):
    if prefix:
        part.write_bytes(prefix)
    else:
        server.behave = wrong_bytes
    with pytest.raises(UserError, match="removed.*SHA-256") as error:
        load_data.load_cifar10(target.parent, source=server.source)
    assert str(target) in one_line(error)
    assert files(target) == []


def test_nobody_listens(target, archive):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        source = source_of(archive[0], f"http://127.0.0.1:{free.getsockname()[1]}/{ARCHIVE}")
        with pytest.raises(UserError, match="refused") as error:
            load_data.download(target, source, timeout=2)
    assert str(target) in one_line(error) and files(target) == []


def start(target, source) -> subprocess.Popen:
    """Another process that loads CIFAR-10 from the folder of ``target``."""
    code = (f"import load_data; load_data.BATCH_LENGTH = {SMALL}\n"
            f"load_data.load_cifar10({str(target.parent)!r}, load_data.Source(*{tuple(source)!r}))")
    return subprocess.Popen([sys.executable, "-c", code], cwd=load_data.ROOT, stderr=subprocess.PIPE, text=True)


def test_two_downloads_at_once(server, archive, target):
    asked = threading.Event()

    def wait_to_answer(handler, content):
        asked.set()
        server.go.wait(10)
        answer(handler, content)

    server.behave = wait_to_answer
    with start(target, server.source) as first:
        assert asked.wait(10)
        with start(target, server.source) as second:
            told = second.stderr.readline()
            server.go.set()
            assert first.wait(10) == 0 and second.wait(10) == 0
    assert "waiting" in told and server.ranges == [None]
    assert files(target) == [FOLDER, ARCHIVE]
    assert_is(load_data.load_cifar10(target.parent), *archive[1:])


def test_killed_download_resumes(server, archive, target, part):
    server.behave, half = stall, len(archive[0]) // 2
    with start(target, server.source) as killed:
        deadline = time.monotonic() + 10
        while (not part.exists() or part.stat().st_size < half - 20_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
    kept = part.stat().st_size
    assert 0 < kept <= half
    server.behave = answer
    load_data.download(target, server.source)
    assert server.ranges == [None, f"bytes={kept}-"] and target.read_bytes() == archive[0]


def test_two_processes_unpack_at_once(archive, target, monkeypatch):
    """The other process puts its folder in place while ours is still being filled."""
    content, images, labels = archive
    target.write_bytes(content)
    original = Path.rename

    def rename(path, folder):
        shutil.copytree(path, folder)
        return original(path, folder)

    monkeypatch.setattr(Path, "rename", rename)
    assert_is(load_data.load_cifar10(target, source=source_of(content)), images, labels)
    assert files(target) == [FOLDER, ARCHIVE]


# The command


def test_main_horses(capsys):
    assert load_data.main([]) == 0
    printed = capsys.readouterr()
    assert str(HORSES) in printed.out and "uint8 (5000, 3, 32, 32), 15.4 MB" in printed.out
    assert printed.out.splitlines()[-1].split() == ["horse", "5,000", "1,000"]
    assert printed.err == ""


def test_main_all(small, capsys):
    folder, _, labels = small
    assert load_data.main(["--category", "all", "--data", str(folder.parent)]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out and "(100, 3, 32, 32)" in out and "(20, 3, 32, 32)" in out
    for number, name in enumerate(CATEGORIES):
        counts = [str((part == number).sum()) for part in (labels[:-SMALL], labels[-SMALL:])]
        assert [name, *counts] in [line.split() for line in out.splitlines()]


def test_main_one_category(small, capsys):
    folder, _, labels = small
    load_data.main(["--category", "3", "--data", str(folder)])
    out = capsys.readouterr().out
    assert f"({(labels[:-SMALL] == 3).sum()}, 3, 32, 32)" in out and "horse" not in out


@pytest.mark.parametrize("argv, reason", [
    (["--category", "hrose"], "horse, ship, truck"), (["--data", "nowhere"], "nowhere"),
    (["--data", __file__], "is not the CIFAR-10 archive"), (["--bogus"], "--bogus"),
    (["--category", "cat", "--data", "EMPTY"], ARCHIVE)])
def test_main_mistakes_end_in_one_line(argv, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    for name in ("no_proxy", "NO_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody is there: no network
    with pytest.raises(SystemExit) as ended:
        load_data.main(argv)
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if not line.startswith("downloading ")]
    assert ended.value.code == 2 and printed.out == ""
    assert len(errors) == 1 and errors[0].startswith("error: ") and reason in errors[0]
    assert not list(Path("EMPTY").iterdir())


def test_import_is_light():
    code = ("import sys, load_data\n"
            "print([name for name in ('torch', 'tqdm', 'PIL', 'tarfile', 'urllib.request') if name in sys.modules])")
    assert subprocess.check_output([sys.executable, "-c", code], cwd=load_data.ROOT, text=True) == "[]\n"
