"""ImageNet32: all of it or one label, from the folders of its archives, whole or damaged."""

import pickle
import struct
import tracemalloc

import numpy as np
import pytest

import load_data
from colour.data import cifar10, datasets, imagenet32
from colour.system.cli import UserError
from tests.cifar import imagenet_batch
from tests.helpers import one_line


@pytest.fixture
def imagenet(tmp_path):
    """Make a folder with three batches of different sizes and val_data; return its path, and what is in each."""
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


def test_folders_of_its_archives(imagenet, tmp_path):
    folder, parts = imagenet
    for name in parts:
        place = folder / ("Imagenet32_val" if name == "val_data" else "Imagenet32_train")
        place.mkdir(exist_ok=True)
        (folder / name).rename(place / name)
    for place in folder, folder.parent:
        x_train, x_test = datasets.load_category("all", place)
        assert len(x_train) == 24 and np.array_equal(x_test, parts["val_data"][0])


def test_all_batches(imagenet, monkeypatch):
    folder, parts = imagenet
    monkeypatch.setattr(cifar10, "locate", lambda *_: pytest.fail("looked for CIFAR-10"))
    x_train, x_test = datasets.load_category("horse", folder)  # the default category means all of it
    train = [parts[f"train_data_batch_{i}"] for i in (1, 2, 10)]
    assert x_train.dtype == x_test.dtype == np.uint8
    assert np.array_equal(x_train, np.concatenate([images for images, _ in train]))
    assert np.array_equal(x_test, parts["val_data"][0])
    (_, y_train), (_, y_test) = imagenet32.load(folder)
    assert y_train.tolist() == sum((labels for _, labels in train), []) and y_test.tolist() == parts["val_data"][1]
    assert datasets.choose("horse", folder).name == datasets.choose("all", folder).name == "ImageNet32"

    (folder / "train_data_batch_2").unlink()
    assert len(datasets.load_category("all", str(folder))[0]) == 16


def test_nearest_batch_wins(imagenet):
    folder, parts = imagenet
    (folder / "older").mkdir()
    (folder / "older" / "val_data").write_bytes((folder / "train_data_batch_1").read_bytes())
    assert np.array_equal(datasets.load_category("all", folder)[1], parts["val_data"][0])


def test_one_label(imagenet):
    folder, parts = imagenet
    x_train, x_test = datasets.load_category("7", folder)
    images, labels = parts["train_data_batch_1"]
    assert np.array_equal(x_train[0], images[2]) and len(x_train) >= 3 and len(x_test) >= 1
    assert datasets.choose(7, folder).name == "ImageNet32, label 7"
    absent = next(i for i in range(1, 1001) if all(i not in labels for _, labels in parts.values()))
    with pytest.raises(UserError, match=f"no pictures of category {absent} "):
        datasets.load_category(absent, folder)


@pytest.mark.parametrize("category", ["cat", "0", "1001", "-1", "7.0", ""])
def test_unknown_label(imagenet, category):
    with pytest.raises(UserError, match="leave out --category or give a label, 1 to 1000") as error:
        datasets.load_category(category, imagenet[0])
    assert str(imagenet[0]) in one_line(error)


BAD_BATCHES = {
    "cut": imagenet_batch()[:-100], "empty": b"", "label 0": imagenet_batch(labels=[1, 2, 0]),
    "label 1001": imagenet_batch(labels=[1, 2, 1001]), "few labels": imagenet_batch(labels=[1, 2]),
    "no pictures": imagenet_batch(data=np.zeros((0, 3072), np.uint8), labels=[]),
    "larger pictures": imagenet_batch(data=np.zeros((3, 12288), np.uint8)),
    "too long a claim": b"\x80\x04}\x8c\x04data\x8e" + struct.pack("<Q", 1 << 50) + b"x",
}


@pytest.mark.parametrize("bad", BAD_BATCHES)
def test_bad_batch_is_named(imagenet, bad):
    path = imagenet[0] / "train_data_batch_2"
    path.write_bytes(BAD_BATCHES[bad])
    with pytest.raises(UserError, match="is not a batch of ImageNet32") as error:
        datasets.load_category("all", imagenet[0])
    assert str(path) in one_line(error)


@pytest.mark.parametrize("gone", [["val_data"], [f"train_data_batch_{i}" for i in (1, 2, 10)]])
def test_missing_part(imagenet, gone):
    for name in gone:
        (imagenet[0] / name).unlink()
    with pytest.raises(UserError, match="is missing") as error:
        datasets.load_category("all", imagenet[0])
    assert str(imagenet[0] / gone[0]) in one_line(error)


def test_oversized_batch(imagenet):
    with open(imagenet[0] / "train_data_batch_2", "r+b") as file:
        file.truncate((800 << 20) + 1)  # sparse: takes no disk
    with pytest.raises(UserError, match="train_data_batch_2 .*larger than 800 MB"):
        datasets.load_category("all", imagenet[0])


def test_memory(tmp_path):
    """The pictures and one batch are in memory, no more."""
    size = 4000 * 3072
    for name in ("train_data_batch_1", "train_data_batch_2", "val_data"):
        batch = {"data": np.ones((4000, 3072), np.uint8), "labels": [1] * 4000}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=4))
    tracemalloc.start()
    datasets.load_category("all", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4.2 * size


def test_main(imagenet, capsys, tmp_path):
    assert load_data.main(["--data", str(imagenet[0]), "--outdir", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert str(imagenet[0]) in out and "(24, 3, 32, 32)" in out and "(5, 3, 32, 32)" in out and "horse" not in out
