"""Palettes: the quantiser against brute force, the shipped palettes, the old format, hostile files."""

import hashlib
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import colourization
from colour.palette import DEFAULT, Palette
from colour.system.cli import UserError
from colour.system.files import ROOT
from tests.helpers import GRID, one_line
from tests.old_palettes import CENTRES, HEADER, array2, dtype2, npy, pair2, plain_npy, saved_today, string2

SHIPPED = {k: ROOT / "colour" / f"colour_kmeans{k}_cat7.npy" for k in (16, 24, 32)}


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request) -> Palette:
    return Palette.load(SHIPPED[request.param])


def as_images(pixels) -> np.ndarray:
    """Turn pixels (..., 3) into uint8 images (N, 3, 1, 1)."""
    return np.asarray(pixels, np.uint8).reshape(-1, 3, 1, 1)


# The quantiser


def test_labels_by_brute_force(horses, shipped):
    images = horses[[0, 2500, 4999]]
    labels = shipped.labels(images)
    assert labels.shape == (3, 32, 32) and labels.dtype == np.uint8
    centres = shipped.centres.tolist()
    for n, y, x in np.ndindex(labels.shape):
        pixel = [value / 256 for value in images[n, :, y, x].tolist()]
        distances = [math.dist(pixel, centre) for centre in centres]
        assert labels[n, y, x] == distances.index(min(distances))


@pytest.mark.parametrize("k", [2, 3, 24, 256])
def test_labels_of_any_palette(k):
    random = np.random.default_rng(k)
    centres = random.random((k, 3)).astype(np.float32)
    centres[-1] = centres[0]  # which is a tie wherever it is the nearest
    images = random.integers(0, 256, (110, 3, 16, 18), np.uint8)[..., 1:]  # neither square nor contiguous on purpose
    distances = ((images[:, None] / 256 - centres[:, :, None, None].astype(float)) ** 2).sum(axis=2)
    assert np.array_equal(Palette(centres).labels(images), distances.argmin(axis=1))


def test_no_pictures_no_labels(shipped):
    labels = shipped.labels(np.empty((0, 3, 32, 32), np.uint8))
    assert labels.shape == (0, 32, 32) and labels.dtype == np.uint8


def test_the_lower_index_wins_a_tie():
    twice = Palette(np.array([[9, 9, 9], [128, 0, 0], [128, 0, 0], [9, 9, 9]]) / 256)
    assert twice.labels(as_images([[128, 0, 0], [127, 3, 1], [9, 9, 9], [0, 0, 0]])).ravel().tolist() == [1, 1, 0, 0]
    for centres in (GRID, GRID[::-1]):
        palette = Palette(centres / 256)
        black, red = (int(np.flatnonzero((centres == colour).all(axis=1))[0]) for colour in GRID[:2])
        assert palette.labels(as_images([32, 0, 0])).item() == min(black, red)  # just between the two
        assert palette.labels(as_images([33, 0, 0])).item() == red


def test_all_256_labels_fit():
    palette = Palette(np.arange(256)[:, None] * np.ones(3) / 256)
    labels = palette.labels(as_images(np.arange(256)[:, None] * np.ones(3)))
    assert labels.ravel().tolist() == list(range(256))


def test_decoding_gives_the_colours_back(shipped):
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, len(shipped), (5, 4, 6), np.uint8))
    rgb = shipped.rgb(labels)
    assert rgb.shape == (5, 3, 4, 6) and rgb.dtype == torch.float32
    for n, y, x in np.ndindex(5, 4, 6):
        assert rgb[n, :, y, x].tolist() == shipped.centres[labels[n, y, x]].tolist()
    pixels = (rgb * 256).round().byte().numpy()
    assert np.array_equal(shipped.labels(pixels), labels)
    assert torch.equal(shipped.rgb(labels.long()), rgb)


def test_palette_colours_come_back():
    palette = Palette(GRID / 256)
    images = GRID[np.random.default_rng(0).integers(0, 4, (3, 8, 8))].transpose(0, 3, 1, 2).astype(np.uint8)
    assert np.array_equal(palette.rgb(torch.from_numpy(palette.labels(images))).numpy() * 256, images)


# The shipped palettes


@pytest.mark.parametrize("k", SHIPPED)
def test_shipped_palette_is_a_plain_file(k):
    with open(SHIPPED[k], "rb") as file:
        centres = np.load(file, allow_pickle=False)
        assert not file.read()
    assert centres.dtype == np.dtype("<f4") and centres.shape == (k, 3)
    assert centres.min() >= 0 and centres.max() < 1
    assert len(np.unique(centres, axis=0)) == k
    assert (np.diff(centres.astype(float).mean(axis=1)) > 0).all(), "not from dark to bright"
    palette = Palette.load(SHIPPED[k])
    assert np.array_equal(palette.centres, centres) and len(palette) == k
    assert palette.sha256() == hashlib.sha256(SHIPPED[k].read_bytes()).hexdigest()
    assert palette.name == f"colour/colour_kmeans{k}_cat7.npy"


def test_the_default_has_24_colours():
    assert SHIPPED[24] == DEFAULT and len(Palette.load()) == 24


def test_as_near_as_the_handouts(horses):
    from scipy.spatial import KDTree  # not the routine that the quantiser uses

    pixels = horses.transpose(0, 2, 3, 1).reshape(-1, 3).astype(np.uint32)
    codes, counts = np.unique(pixels @ np.array([65536, 256, 1], np.uint32), return_counts=True)
    assert counts.sum() == 5000 * 32 * 32
    colours = np.stack([codes // 65536, codes // 256 % 256, codes % 256], axis=1) / 256
    for k, limit in {16: 0.0838 * 1.01, 24: 0.0735, 32: 0.0656 * 1.01}.items():
        distances, _ = KDTree(Palette.load(SHIPPED[k]).centres.astype(float)).query(colours)
        assert np.average(distances, weights=counts) <= limit, k


# Saving


def test_save(tmp_path, monkeypatch):
    file = tmp_path / "palette.npy"
    palette = Palette(np.random.default_rng(0).random((9, 3)))
    palette.save(file)
    assert np.array_equal(Palette.load(file).centres, palette.centres)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == palette.sha256()
    before = file.read_bytes()

    def no_space(file, array, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", no_space)
    with pytest.raises(OSError, match="No space"):
        Palette(GRID / 256).save(file)
    assert file.read_bytes() == before and os.listdir(tmp_path) == ["palette.npy"]


# The older form: (centres, distortion) as Python 2 pickled it

LEGACY = {
    "float64": npy(HEADER, pair2(CENTRES)),
    "float32": npy(HEADER, pair2(CENTRES.astype(np.float32))),
    "fortran order": npy(HEADER, pair2(CENTRES, fortran=True)),
    "big-endian": npy(HEADER, pair2(CENTRES, order=b">")),
    "long shape": npy(HEADER.replace(b"(2,)", b"(2L,)"), pair2(CENTRES)),
    **{f"today, protocol {protocol}": npy(HEADER, pickle.dumps(
        np.array([CENTRES, 0.0728], dtype=object), protocol)) for protocol in (0, 2, 3, 4)},
    "today, float32 in fortran order": saved_today(np.asfortranarray(CENTRES, np.float32)),
    "plain float64": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (24, 3), }", CENTRES.tobytes()),
    "plain fortran order": npy(b"{'descr': '<f8', 'fortran_order': True, 'shape': (24L, 3L), }",
                               CENTRES.tobytes(order="F")),
}


def test_old_opcodes():
    """Python's own unpickler reads them too, not only ours."""
    centres, distortion = pickle.loads(pair2(CENTRES), encoding="bytes")
    assert np.array_equal(centres, CENTRES) and distortion == 0.0728
    assert b"_codecs" not in pair2(CENTRES) and b"T@\x02\x00\x00" in pair2(CENTRES)


@pytest.mark.filterwarnings("error")  # a warning would be noise on the user's screen
@pytest.mark.parametrize("form", LEGACY)
def test_old_palettes_load(form, tmp_path):
    file = tmp_path / "old.npy"
    file.write_bytes(LEGACY[form])
    palette = Palette.load(file)
    assert palette.centres.dtype == np.float32 and np.array_equal(palette.centres, CENTRES.astype(np.float32))
    assert palette.labels(as_images([1, 2, 3])).shape == (1, 1, 1)
    assert torch.equal(palette.rgb(torch.zeros(1, 1, 1))[0, :, 0, 0], torch.from_numpy(palette.centres[0]))


def test_old_palette_of_today(tmp_path):
    file = tmp_path / "old.npy"
    np.save(file, np.array([CENTRES, 0.0728], dtype=object), allow_pickle=True)
    assert np.array_equal(Palette.load(file).centres, CENTRES.astype(np.float32))


# Damaged and hostile files


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(path) -> str:
    return f"open({str(path)!r}, 'w').close()"


def calls(marker: Path) -> list[Call]:
    return [Call(os.system, f"touch '{marker}'"), Call(eval, touch(marker)), Call(exec, touch(marker)),
            Call(open, str(marker), "w"), Call(os.mkdir, str(marker)), Call(getattr, Call(__import__, "os"), "system")]


def test_nothing_is_executed(tmp_path):
    marker, file = tmp_path / "marker", tmp_path / "evil.npy"
    pickle.loads(pickle.dumps(calls(marker)[0]))
    assert marker.exists(), "the attack itself does not work"
    marker.unlink()
    for call in calls(marker):
        for payload in (call, [call, 0.5], np.array([CENTRES, call], dtype=object), {"centres": call}):
            for protocol in (0, 2, 4):
                file.write_bytes(npy(HEADER, pickle.dumps(payload, protocol)))
                with pytest.raises(UserError) as error:
                    Palette.load(file)
                assert "which is not data" in one_line(error)
                assert not marker.exists()
    # after a palette that is complete, and behind numpy's own door
    for body in (pair2(CENTRES)[:-1] + b"0" + pickle.dumps(calls(marker)[0])[2:],
                 b"cnumpy.core.multiarray\n_reconstruct\n(cposix\nsystem\nU\x01xtR.",
                 b"cnumpy\nload\n(U\x01xtR.", b"cnumpy.core.multiarray\nfromfile\n(U\x01xtR.",
                 b"(S'touch " + str(marker).encode() + b"'\nios\nsystem\n.", b"Pos.system\n.", b"\x82\x01."):
        file.write_bytes(npy(HEADER, body))
        with pytest.raises(UserError):
            Palette.load(file)
        assert not marker.exists()


def nested(depth: int):
    """Nest lists, each twice in the next: a few bytes in a file, 2**depth entries for whoever walks them."""
    value = 0.5
    for _ in range(depth):
        value = [value, value]
    return value


GOOD = plain_npy(CENTRES.astype(np.float32))
BAD = {
    "empty": b"",
    "text": b"0.1 0.2 0.3\n",
    "web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "only the magic": b"\x93NUMPY",
    "too long": GOOD + b"\0",
    "too large": GOOD.ljust((1 << 20) + 1, b"\0"),
    "nan": plain_npy(np.where(CENTRES > 0.9, np.nan, CENTRES)),
    "inf": plain_npy(np.where(CENTRES > 0.9, np.inf, CENTRES)),
    "values of 255": plain_npy(CENTRES * 255),
    "beyond float32": plain_npy(CENTRES * 1e300),
    "bytes of 255": plain_npy((CENTRES * 255).astype(np.uint8)),
    "negative": plain_npy(CENTRES - 0.5),
    "one colour": plain_npy(CENTRES[:1]),
    "no colour": plain_npy(CENTRES[:0]),
    "257 colours": plain_npy(np.zeros((257, 3))),
    "transposed": plain_npy(CENTRES.T),
    "rgba": plain_npy(np.zeros((24, 4))),
    "flat": plain_npy(CENTRES.ravel()),
    "scalar": plain_npy(0.5),
    "a picture": plain_npy(np.zeros((24, 3, 3))),
    "complex": plain_npy(CENTRES.astype(complex)),
    "text numbers": plain_npy(CENTRES.astype("U4")),
    "byte strings": plain_npy(CENTRES.astype("S4")),
    "booleans": plain_npy(CENTRES > 0.5),
    "dates": plain_npy(np.zeros((24, 3), "M8[s]")),
    "records": npy(b"{'descr': [('r', '<f8'), ('g', '<f8'), ('b', '<f8')], 'fortran_order': False, 'shape': (24,)}",
                   CENTRES.tobytes()),
    "terabytes": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }", b"\0" * 576),
    "terabytes of records": npy(b"{'descr': '|V1000000000', 'fortran_order': False, 'shape': (1000, 3), }", b""),
    "negative shape": npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-24, -3), }", CENTRES.tobytes()),
    "deep header": npy(b"-" * 9000 + b"1", b""),
    "brackets without end": npy(b"(" * 5000, b""),
    "header of code": npy(b"{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (2,)}", b""),
    "header cut in a string": npy(b"{'descr': '''|O", b""),
    "version 9": GOOD[:6] + b"\x09" + GOOD[7:],
    "pickled: nothing": npy(HEADER, b""),
    "pickled: a number": npy(HEADER, pickle.dumps(0.5)),
    "pickled: no entry": npy(HEADER, pickle.dumps([])),
    "pickled: a dict": npy(HEADER, pickle.dumps({})),
    "pickled: lists": npy(HEADER, pickle.dumps([CENTRES.tolist(), 0.5])),
    "pickled: a huge number": npy(HEADER, pickle.dumps([10**400, 0.5])),
    "pickled: text": npy(HEADER, pickle.dumps(["centres", 0.5])),
    "pickled: wrong shape": npy(HEADER, pair2(CENTRES).replace(b"K\x18K\x03", b"K\x18K\x04")),
    "pickled: terabytes": npy(HEADER, b"\x80\x02" + array2(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", dtype2(b"f8"),
                                                           False, string2(b"\0" * 8)) + b"."),
    "pickled: a list times a billion": npy(HEADER, b"\x80\x02" + array2(b"]K\x01aJ\x00\xca\x9a;\x86", dtype2(b"f8"),
                                                                        False, string2(b"\0" * 8)) + b"."),
    "pickled: a memo index of a billion": npy(HEADER, b"\x80\x02Nr\x00\xca\x9a;."),
    "pickled: a string of 4 GB": npy(HEADER, b"\x80\x02T\xff\xff\xff\x7fabc."),
    "pickled: twofold lists": npy(HEADER, pickle.dumps([nested(40), 0.5])),
    "pickled: twofold lists in an array": npy(HEADER, b"\x80\x02" + array2(
        b"K\x01\x85", dtype2(b"O8", b"|"), False, b"]" + pickle.dumps(nested(60), 2)[2:-1] + b"a") + b"."),
    "pickled: a list in itself": npy(HEADER, b"\x80\x02]q\x00h\x00a."),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", BAD)
def test_bad_palettes(what, tmp_path):
    import tracemalloc

    file = tmp_path / "bad.npy"
    file.write_bytes(BAD[what])
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as error:
            Palette.load(file)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert str(file) in one_line(error)
    assert "not a palette" in one_line(error) or what == "too large"


def test_a_file_of_any_size_takes_no_memory(tmp_path):
    import tracemalloc

    file = tmp_path / "large.npy"
    file.write_bytes(plain_npy(CENTRES))
    os.truncate(file, 64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="not a palette"):
            Palette.load(file)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", ["a web page", "a folder", "missing"])
def test_bad_palette_of_a_command(what, tmp_path, refused):
    file = tmp_path / "bad.npy"
    if what == "a folder":
        file.mkdir()
    elif what == "a web page":
        file.write_bytes(BAD["web page"])
    error = refused(colourization.main, "--valid", "-c", file, "--outdir", tmp_path / "out")
    assert str(file) in error and "with --colours" in error
