"""What --data can be, and what --category chooses from it."""

import pickle

import numpy as np
import pytest

from colour.data import cifar10, datasets, of_one_label
from colour.data.cifar10 import ARCHIVE, CATEGORIES, FOLDER
from colour.system.cli import UserError
from tests.cifar import SMALL
from tests.helpers import one_line, plain

# Categories


def test_labels_of_categories():
    assert [datasets.choose(name).label for name in CATEGORIES] == list(range(10))
    assert [datasets.choose(str(i)).label for i in range(10)] == list(range(10))
    assert datasets.choose(7).label == datasets.choose(np.int64(7)).label == 7
    assert datasets.choose("Horse").label == 7 and datasets.choose("all").label is None


@pytest.mark.parametrize("category", ["hrose", "", "10", "-1", 10, -1, 7.0, "07", None, True, "hors"])
def test_unknown_category(category):
    with pytest.raises(UserError, match="airplane, automobile, bird, .*truck"):
        datasets.load_category(category)


@pytest.mark.parametrize("category", ["horse", 7, "7"])
def test_horses_need_no_data_dir(category, monkeypatch):
    monkeypatch.setattr(cifar10, "locate", lambda *_: pytest.fail("looked for CIFAR-10"))
    x_train, x_test = datasets.load_category(category)
    assert x_train.shape == (5000, 3, 32, 32) and x_test.shape == (1000, 3, 32, 32)


@pytest.mark.parametrize("category, number", [("cat", 3), (8, 8), ("9", 9), ("horse", 7)])
def test_category_from_folder(small, category, number):
    folder, images, labels = small
    train, test = images[:-SMALL], images[-SMALL:]
    x_train, x_test = datasets.load_category(category, folder.parent)
    assert np.array_equal(x_train, train[labels[:-SMALL] == number])
    assert np.array_equal(x_test, test[labels[-SMALL:] == number])


def test_all_categories(small):
    folder, images, _ = small
    x_train, x_test = datasets.load_category("all", str(folder.parent))
    assert np.array_equal(x_train, images[:-SMALL]) and np.array_equal(x_test, images[-SMALL:])


@pytest.mark.parametrize("train, test", [(0, 2), (2, 0)])
def test_pictures_to_train_on_and_to_test_with(tmp_path, train, test):
    x_train, x_test = (np.zeros((n, 3, 32, 32), np.uint8) for n in (train, test))
    one = datasets.PICTURES._replace(load=lambda place: of_one_label(x_train, x_test))
    with pytest.raises(UserError, match="has no pictures to train on or to test with"):
        datasets.Choice(one, tmp_path, None).load()


# What lies in a folder


BATCH, ZIPPED = pickle.dumps({"data": 0}, 2), b"PK\3\4"


def fill(folder, names, content):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            plain((9, 99, 9)).save(path)
        elif name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(content)
    return folder


@pytest.mark.parametrize("names, kind", [
    ([ARCHIVE], "CIFAR-10"), ([f"{ARCHIVE}.part"], "CIFAR-10"), (["test_batch"], "CIFAR-10"),
    ([f"{FOLDER}/data_batch_1", "cat.png"], "CIFAR-10"), ([f"cifar-10-python/{FOLDER}/test_batch"], "CIFAR-10"),
    (["train_data_batch_3"], "ImageNet32"), (["val_data", "readme"], "ImageNet32"),
    (["Imagenet32_train/train_data_batch_1", "Imagenet32_val/val_data"], "ImageNet32"),
    (["cat.png"], "pictures"), (["train/cats/cat.png"], "pictures"), (["notes.txt", "a.png"], "pictures"),
    (["train_data/1.png", "val_data/1.png"], "pictures"), (["data_batch_1/1.png", "test_batch/2.png"], "pictures"),
    ([f"{FOLDER}/1.png"], "pictures"), ([f"{ARCHIVE}/1.png"], "pictures"), (["train_data_batch_1/x/1.png"], "pictures"),
    ([".cifar/test_batch", "1.png"], "pictures"), (["notes.txt"], None), (["train/"], None), (["val_data/"], None),
    (["train_data_batch_3.zip"], None), ([".cifar/test_batch", "notes"], None), (["cifar-100-python/train"], None)])
def test_what_lies_in_a_folder(tmp_path, names, kind):
    fill(tmp_path, names, BATCH)
    if kind is None:
        with pytest.raises(UserError, match="leave out --data") as error:
            datasets.choose("all", tmp_path)
        assert str(tmp_path) in one_line(error)
        return
    for category, label in ("all", None), ("horse", 7 if kind == "CIFAR-10" else None):
        choice = datasets.choose(category, tmp_path)
        assert choice.dataset.name == kind and choice.label == label


@pytest.mark.parametrize("content", [b"", b"some notes", b"<html>", b"(a note)", b"version https://git-lfs", ZIPPED])
@pytest.mark.parametrize("name", ["val_data", "test_batch"])
def test_only_named_like_a_batch(tmp_path, name, content):
    fill(tmp_path, [name], content)
    with pytest.raises(UserError, match="no batch files that are whole"):
        datasets.choose("all", tmp_path)
    fill(tmp_path, ["cat.png"], b"")
    assert datasets.choose("all", tmp_path).dataset is datasets.PICTURES


@pytest.mark.parametrize("names", [[], [".DS_Store"], [".Trash-1000/files/1.png", ".hidden.png"]])
def test_no_download_into_empty_folder(tmp_path, monkeypatch, names):
    monkeypatch.setattr(cifar10, "download", lambda *_: pytest.fail("downloads into a drive that is not mounted"))
    fill(tmp_path, names, b"")
    for category in "cat", "horse", "all":
        with pytest.raises(UserError, match="is empty: is its drive mounted") as error:
            datasets.load_category(category, tmp_path)
        assert str(tmp_path) in one_line(error)
    with pytest.raises(UserError, match="no CIFAR-10"):
        cifar10.load_cifar10(tmp_path)


def test_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path, ["cat.png"], b""))
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in "", "nowhere", tmp_path / "dangling", tmp_path / "cat.png" / "x":
        with pytest.raises(UserError, match="there is no "):
            datasets.choose("horse", path)
    for path in "cat.png", "/dev/null":
        with pytest.raises(UserError, match=f"no pictures in {path}.*: leave out --data or name .*CIFAR-10"):
            datasets.load_category("horse", path)


def test_pictures_have_no_category(tmp_path, monkeypatch):
    fill(tmp_path, ["holiday/a/cat.png"], b"")
    for category in ("horse", "HORSE", "all"):
        assert datasets.choose(category, tmp_path / "holiday").name == "pictures in holiday"
    monkeypatch.chdir(tmp_path / "holiday")
    assert datasets.choose("horse", ".").name == "pictures in holiday"
    for category in ("cat", "7", "unicorn"):
        with pytest.raises(UserError, match="leave out --category$") as error:
            datasets.load_category(category, tmp_path / "holiday")
        assert str(tmp_path / "holiday") in one_line(error)


def test_a_new_data_set_is_a_row(tmp_path, monkeypatch):
    """Its module has a way to locate the data and one to load it; everything else follows from the row."""
    x = np.random.default_rng(0).integers(0, 256, (30, 3, 32, 32), np.uint8)
    np.savez(tmp_path / "mine.npz", train=x[:20], test=x[20:])

    def load(path):
        with np.load(path) as arrays:
            return of_one_label(arrays["train"], arrays["test"])

    row = datasets.DataSet("arrays", "an .npz file", lambda path: path if path.suffix == ".npz" else None, load,
                           "arrays in {}")
    monkeypatch.setattr(datasets, "DATASETS", (*datasets.DATASETS, row))
    x_train, x_test = datasets.load_category(data_dir=tmp_path / "mine.npz")
    assert np.array_equal(x_train, x[:20]) and np.array_equal(x_test, x[20:])
    assert datasets.choose("all", tmp_path / "mine.npz").name == "arrays in mine.npz"
    with pytest.raises(UserError, match="'cat' is no category of arrays"):
        datasets.load_category("cat", tmp_path / "mine.npz")
