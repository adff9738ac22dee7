"""Batch files: every form in which they are pickled, and which ones are found."""

import pickle

import numpy as np
import pytest

from colour.data import batch_files
from colour.system.cli import UserError
from tests.helpers import Hostile

# How they are pickled


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
KIND = batch_files.Batches("a test", 4, 1 << 20, range(10), "download it again")
FROZEN = IMAGES.copy()
FROZEN.flags.writeable = False  # which protocol 5 pickles in another way
FORMS = {
    "plain": {"data": IMAGES, "labels": [0, 9, 3, 3]},
    "keys of bytes": {b"data": IMAGES, b"labels": [0, 9, 3, 3], b"batch_label": b"", b"filenames": [b"a.png"] * 4},
    "more in it": {"data": IMAGES, "labels": [0, 9, 3, 3], "mean": IMAGES.mean(axis=0), "names": np.array(["ab", "c"]),
                   "when": None, "share": 0.5, "bytes": np.array([b"ab"]), "all": True},
    "labels in an array": {"data": IMAGES, "labels": np.array([0, 9, 3, 3])},
    "labels of numpy": {"data": IMAGES, "labels": [np.int64(0), np.uint8(9), np.int32(3), np.int16(3)]},
    "read-only": {"data": FROZEN, "labels": (0, 9, 3, 3)},
    "Fortran order": {"data": np.asfortranarray(IMAGES), "labels": [0, 9, 3, 3]},
    "a view": {"data": np.repeat(IMAGES, 2, axis=1)[:, ::2], "labels": [0, 9, 3, 3]},
    "other axes": {"data": IMAGES, "labels": [0, 9, 3, 3], "x": np.zeros((2, 3, 4), np.uint8).transpose(2, 0, 1)},
    "big-endian labels": {"data": IMAGES, "labels": np.array([0, 9, 3, 3], ">i4")},
}


PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("form", FORMS)
def test_every_protocol(tmp_path, form):
    path = tmp_path / "data_batch_1"
    for protocol in PROTOCOLS:
        path.write_bytes(pickle.dumps(FORMS[form], protocol))
        assert batch_files.find_batches(tmp_path, [path.name]) == [path]
        x, y = batch_files.read_batches([path], KIND)
        assert np.array_equal(x, IMAGES.reshape(4, 3, 32, 32)) and y.tolist() == [0, 9, 3, 3]
        assert x.dtype == np.uint8 and y.dtype == np.int64


@pytest.mark.parametrize("key", ["data", "labels", "else"])
def test_nothing_is_executed(tmp_path, key):
    path = tmp_path / "data_batch_1"
    for protocol in PROTOCOLS:
        path.write_bytes(pickle.dumps({**FORMS["plain"], key: Hostile(tmp_path / "owned")}, protocol))
        with pytest.raises(UserError, match="is not a batch of a test .*which is not data"):
            batch_files.read_batches([path], KIND)
        assert not (tmp_path / "owned").exists()


def test_a_file_that_cannot_be_read_is_found(tmp_path, monkeypatch):
    """Reading it says why."""
    def fail(*_):
        raise PermissionError

    (tmp_path / "batch").touch()
    assert batch_files.find_batches(tmp_path, ["batch"]) == []
    monkeypatch.setattr(batch_files, "open", fail, raising=False)
    assert batch_files.find_batches(tmp_path, ["batch"]) == [tmp_path / "batch"]


@pytest.mark.parametrize("name", ["batch", "damaged"])
def test_nearest_batches_come_first(tmp_path, name):
    """Files that lie too deep or in hidden folders are not found."""
    places = ["b", "a", "a/x", ".", "a/x/y", ".hidden", "a/.hidden", "b/y"]
    for place in places:
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / name).write_bytes(pickle.dumps({}) if name == "batch" or place == "a/x" else b"cut")
    found = [str(path.parent.relative_to(tmp_path)) for path in batch_files.find_batches(tmp_path, [name])]
    assert found == [".", "a", "b", "a/x", "b/y"]
