"""A folder of your own pictures: what is read, how it is reduced, split and cached; training on it."""

import json
import os
import pickle
import sys
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import colourization
import load_data
from colour import kmeans
from colour.data import image_file, picture_folder
from colour.palette import Palette
from colour.system.cli import UserError
from tests.helpers import Hostile, one_line, plain


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Give each test a cache of its own; return its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "colourization"


def gradient(width=96, height=64) -> Image.Image:
    """Draw red to blue from left to right, brighter downwards."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([200 - 200 * x / width, 120 * y / height, 200 * x / width], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Make a folder of 24 pictures: 00.png is plain (0, 9, 100), 01.png is plain (10, 9, 100), and so on."""
    folder = tmp_path / "my pictures é"
    folder.mkdir()
    for i in range(24):
        plain((10 * i, 9, 100)).save(folder / f"{i:02}.png")
    return folder


def numbers(x) -> list[int]:
    """Tell which of the pictures of ``folder`` these are."""
    return [round(float(picture[0].mean())) // 10 for picture in x]


# One picture


def used(path) -> np.ndarray:
    """Return the pixels of a picture that can be used, as int (3, 32, 32)."""
    status, pixels = picture_folder.shrink(str(path))
    assert status == picture_folder.USED and pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8
    return pixels.astype(int)


def status_of(path) -> int:
    status, pixels = picture_folder.shrink(str(path))
    assert pixels is None
    return status


def middle(image: Image.Image) -> np.ndarray:
    """Compute what ``shrink`` should return for an RGB picture, by numpy and the library's filter alone."""
    side = min(image.size)
    square = ImageOps.fit(image, (side, side), centering=(0.5, 0.5))
    return np.asarray(square.resize((32, 32), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def test_smooth_picture(tmp_path):
    gradient().save(tmp_path / "a.png")
    assert (used(tmp_path / "a.png") == middle(gradient())).all()


@pytest.mark.parametrize("size", [(90, 30), (30, 90), (31, 93), (1200, 400)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_middle_square(tmp_path, size, suffix):
    """The longer side has a red, a green and a blue third: only green is left."""
    stripes = Image.new("RGB", (3, 1) if size[0] > size[1] else (1, 3))
    stripes.putdata([(200, 0, 0), (0, 200, 0), (0, 0, 200)])
    stripes.resize(size, Image.Resampling.NEAREST).save(tmp_path / f"a.{suffix}", quality=95, subsampling=0)
    assert abs(used(tmp_path / f"a.{suffix}")[:, :, 2:-2] - [[[0]], [[200]], [[0]]]).max() <= 6


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (700, 2), (32, 32)])
def test_any_size(tmp_path, size):
    plain((10, 20, 90), size).save(tmp_path / "a.png")
    assert (used(tmp_path / "a.png") == np.reshape([10, 20, 90], (3, 1, 1))).all()


@pytest.mark.parametrize("size", [64, 320, 1024])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_checkerboard_becomes_its_mean(tmp_path, size, suffix):
    y, x = np.mgrid[:size, :size]
    board = np.where(((x + y) % 2)[..., None], [240, 180, 0], [0, 0, 100]).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / f"a.{suffix}", quality=98, subsampling=0)
    assert abs(used(tmp_path / f"a.{suffix}") - [[[120]], [[90]], [[50]]]).max() <= 6


def test_transparent_parts_are_white(tmp_path):
    image = plain((200, 10, 10), (64, 64)).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 64, 32))
    image.save(tmp_path / "a.png")
    small = used(tmp_path / "a.png")
    assert abs(small[:, :13] - 255).max() <= 1 and abs(small[:, -13:] - [[[200]], [[10]], [[10]]]).max() <= 1


def test_grey_or_unreadable(tmp_path):
    gradient().convert("L").save(tmp_path / "grey.png")
    (tmp_path / "text.png").write_text("no picture")
    assert status_of(tmp_path / "grey.png") == picture_folder.GREY
    for name in "text.png", "none.png":
        assert status_of(tmp_path / name) == picture_folder.UNREADABLE


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_without_its_end(tmp_path, options):
    """It is used if only the last bytes are missing."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((640, 480)).save(tmp_path / "whole.jpg", quality=90, **options)
    content = (tmp_path / "whole.jpg").read_bytes()
    for lost in 1, 2, 3:
        (tmp_path / "cut.jpg").write_bytes(content[:-lost])
        assert abs(used(tmp_path / "whole.jpg") - used(tmp_path / "cut.jpg"))[:, :, :30].max() <= 2
    (tmp_path / "half.jpg").write_bytes(content[:len(content) // 2])
    if not options:  # of a progressive one, the first half has all pixels, with less detail
        assert status_of(tmp_path / "half.jpg") == picture_folder.UNREADABLE


# The folder


def test_found_at_any_depth(folder):
    deep = folder / "b" / "c.d" / "e f"
    deep.mkdir(parents=True)
    plain((1, 2, 200)).save(deep / "x.JPG", "JPEG")
    (folder / ".hidden").mkdir()
    plain((1, 2, 200)).save(folder / ".hidden" / "x.png")
    plain((1, 2, 200)).save(folder / "._x.png")
    (folder / "notes.txt").write_text("not a picture, nor said to be one")
    (folder / "folder.png").mkdir()
    (folder / "gone.png").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe.png")
    files = picture_folder.find_pictures(folder)
    assert sorted(file.name for file in files) == [f"{i:02}.png" for i in range(24)] + ["b/c.d/e f/x.JPG"]
    assert [file.test for file in files] == sorted(file.test for file in files)
    assert all(Path(file.path).stat().st_size == file.size for file in files)


def names_in(folder) -> list[str]:
    return sorted(file.name for file in picture_folder.find_pictures(folder))


def test_linked_folders_are_followed(folder, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    plain((1, 2, 200)).save(tmp_path / "elsewhere" / "deep" / "x.png")
    plain((1, 2, 200)).save(tmp_path / "elsewhere" / "y.png")
    own = names_in(folder)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "one.png").symlink_to(tmp_path / "elsewhere" / "y.png")
    assert names_in(folder) == [*own, "link/deep/x.png", "link/y.png", "one.png"]
    os.rename(folder, tmp_path / "moved")
    (tmp_path / "whole").symlink_to(tmp_path / "moved")
    assert names_in(tmp_path / "whole") == [*own, "link/deep/x.png", "link/y.png", "one.png"]


@pytest.mark.parametrize("link, target", [
    ("loop", "."), ("a/loop", ".."), ("loop", ".."), ("a/b/loop", "../../.."), ("loop", "/"), ("again", "a"),
    ("0", "a/b"), ("loop", "loop"), ("a/b/loop", "../b"), ("dangling", "nothing"), (".hidden", "../elsewhere"),
    ("@eaDir", "../elsewhere")])
def test_loops_of_links(folder, tmp_path, link, target):
    for place in folder / "a" / "b", tmp_path / "elsewhere":
        place.mkdir(parents=True)
        plain((1, 2, 200)).save(place / "x.png")
    before = names_in(folder)
    (folder / link).symlink_to(target)
    assert names_in(folder) == before and len(before) == 25


def test_links_between_folders_outside(folder, tmp_path):
    """A link is followed from one folder to the next, but not back."""
    for name, following in ("one", "two"), ("two", "one"):
        (tmp_path / name / "sub").mkdir(parents=True)
        plain((1, 2, 200)).save(tmp_path / name / "sub" / f"{name}.png")
        (tmp_path / name / "sub" / "next").symlink_to(tmp_path / following)
        (tmp_path / name / "sub" / "up").symlink_to("..")
    own = names_in(folder)
    (folder / "z").symlink_to(tmp_path / "one")
    assert names_in(folder) == [*own, "z/sub/next/sub/two.png", "z/sub/one.png"]


@pytest.mark.parametrize("name", [".thumbnails", "@eaDir", "@EADIR", "__MACOSX", "$RECYCLE.BIN", "#recycle", ".git"])
def test_system_folders_are_skipped(folder, name):
    before = names_in(folder)
    for place in folder / name, folder / "a" / name / "b":
        place.mkdir(parents=True)
        plain((1, 2, 200)).save(place / "x.png")
    assert names_in(folder) == before
    assert len(names_in(folder / name)) == 1  # the user names it


def test_pictures_that_are_not_read_are_named(folder, capsys, monkeypatch):
    monkeypatch.setattr(image_file, "suffixes", lambda: {".png"})  # pillow-heif may be installed here
    for number, what in (1, "1 HEIC picture in"), (2, "2 HEIC pictures in"):
        (folder / f"{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
        for name in "a.psd", "b.psd", "c.TGA", ".d.tga", "film.mpg", "notes.txt":
            (folder / name).write_bytes(b"")
        assert sum(map(len, picture_folder.load_pictures(folder))) == 24
        heic, others = capsys.readouterr().err.splitlines()
        assert heic.startswith(f"warning: left out {what} ") and "pip install pillow-heif" in heic
        assert others == f"warning: left out pictures in {folder} of kinds that are not read: 2 .psd, 1 .tga"


@pytest.mark.parametrize("suffix, said", [("heic", "pip install pillow-heif"), ("tga", "not read: 20 .tga")])
def test_only_pictures_that_are_not_read(suffix, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_file, "suffixes", lambda: {".png"})
    (tmp_path / "phone").mkdir()
    for i in range(20):
        (tmp_path / "phone" / f"{i}.{suffix}").write_bytes(b"")
    with pytest.raises(UserError, match="no pictures in"):
        load_data.load_category("horse", tmp_path / "phone")
    assert said in capsys.readouterr().err


def test_split_and_order(folder):
    x_train, x_test = picture_folder.load_pictures(folder)
    assert x_train.dtype == x_test.dtype == np.uint8 and x_train.shape[1:] == x_test.shape[1:] == (3, 32, 32)
    expected = [i for i in range(24) if picture_folder.is_test(f"{i:02}.png")]
    assert numbers(x_test) == expected
    assert numbers(x_train) == [i for i in range(24) if i not in expected]
    assert x_train.flags.c_contiguous and x_test.flags.c_contiguous


def test_split_is_the_same_everywhere():
    assert [i for i in range(24) if picture_folder.is_test(f"{i:02}.png")] == [9, 14, 20, 21]
    assert picture_folder.is_test("holiday/été.jpg") and not picture_folder.is_test("b/\udcff.jpg")
    share = np.mean([picture_folder.is_test(f"folder/{i}.jpg") for i in range(12_000)])
    assert abs(share - 1 / 6) < 0.01


def test_adding_pictures_moves_none(folder):
    before = [numbers(x) for x in picture_folder.load_pictures(folder)]
    (folder / "A").mkdir()
    for i in range(24, 26):
        plain((10 * i, 9, 100)).save(folder / "A" / f"{i}.png")
    after = [numbers(x) for x in picture_folder.load_pictures(folder)]
    assert sorted(sum(after, [])) == list(range(26))
    assert [[i for i in part if i < 24] for part in after] == before
    os.remove(folder / "00.png")
    assert [numbers(x) for x in picture_folder.load_pictures(folder)] == [[i for i in part if i] for part in after]


def test_names_are_compared_composed(tmp_path):
    for form, name in ("NFC", "one"), ("NFD", "other"):
        (tmp_path / name).mkdir()
        plain((1, 2, 200)).save(tmp_path / name / unicodedata.normalize(form, "été.png"))
    one, other = (picture_folder.find_pictures(tmp_path / name)[0] for name in ("one", "other"))
    assert one.name == other.name == unicodedata.normalize("NFC", "été.png") and one.test == other.test


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_name_that_is_not_unicode(folder):
    os.rename(os.fsencode(folder / "03.png"), os.fsencode(folder) + b"/\xff\n.png")
    (folder / "00.png").write_bytes(b"")
    assert sum(map(len, picture_folder.load_pictures(folder))) == 23


def test_unusable_pictures_are_counted(folder, capsys):
    for i, mode in enumerate(("L", "1", "RGB", "LA")):
        gradient().convert("L").convert(mode).save(folder / f"grey{i}.png")
    (folder / "bad\n.png").write_text("no picture")
    (folder / "b").mkdir()
    (folder / "b" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    for _ in range(2):  # the second time from the cache
        x_train, x_test = picture_folder.load_pictures(folder)
        assert sorted(numbers(x_train) + numbers(x_test)) == list(range(24))
        unreadable, grey = capsys.readouterr().err.splitlines()
        assert unreadable.startswith("warning: left out 2 of the 30 pictures") and str(folder) in unreadable
        assert "cannot be read" in unreadable and r"'b/cut.jpg', 'bad\n.png'" in unreadable
        assert grey.startswith("warning: left out 4 of the 30 pictures") and "have no colour" in grey
        assert grey.endswith("'grey0.png', 'grey1.png', 'grey2.png', ...")


def name_pictures(folder, count, which=lambda name: True):
    for i in range(count):
        if which(f"{i}.png"):
            plain((i, 9, 100)).save(folder / f"{i}.png")


@pytest.mark.parametrize("make, reason", [
    (lambda folder: (folder / "a.txt").write_text("x"), "no pictures in"),
    (lambda folder: (folder / "a.png").write_text("x"), "0 pictures to train on and 0 to test with"),
    (lambda folder: name_pictures(folder, 11), "at least 12"),
    (lambda folder: name_pictures(folder, 90, picture_folder.is_test), " 0 pictures to train on"),
    (lambda folder: name_pictures(folder, 90, lambda name: not picture_folder.is_test(name)), " 0 to test with"),
    (lambda folder: [gradient().convert("L").save(folder / f"{i}.png") for i in range(24)], "in colour")])
def test_too_few_pictures(tmp_path, make, reason):
    folder = tmp_path / "few"
    folder.mkdir()
    make(folder)
    with pytest.raises(UserError, match=reason) as error:
        load_data.load_category("horse", folder)
    assert str(folder) in one_line(error)


def test_twelve_pictures_are_enough(tmp_path):
    name_pictures(tmp_path, 12)
    assert [len(x) for x in load_data.load_category("horse", tmp_path)] == [11, 1]


def test_unreadable_pictures_are_tried_again(folder, monkeypatch, capsys):
    """A drive that is back, or a new permission, changes no date."""
    original = image_file.read

    def read(path, least):
        if path.endswith("05.png"):
            raise UserError("Permission denied")
        return original(path, least)

    monkeypatch.setattr(image_file, "read", read)
    for _ in range(2):
        assert sum(map(len, picture_folder.load_pictures(folder))) == 23
        assert "'05.png'" in capsys.readouterr().err
    monkeypatch.setattr(image_file, "read", original)
    assert sum(map(len, picture_folder.load_pictures(folder))) == 24
    assert capsys.readouterr().err == ""


# The cache


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Collect the names of the files that are read."""
    original, names = picture_folder.shrink, []

    def shrink(path):
        names.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(picture_folder, "shrink", shrink)
    return names


def test_cache_is_used(folder, cache, read, monkeypatch):
    first = picture_folder.load_pictures(folder)
    assert len(read) == 24 and len(os.listdir(cache)) == 1
    with np.load(*cache.iterdir(), allow_pickle=False) as file:
        assert {file[name].dtype for name in file} == {np.dtype(np.uint8)}
    monkeypatch.chdir(folder)
    for place in (folder, str(folder) + "/", "."):
        for x, same in zip(first, picture_folder.load_pictures(place)):
            assert np.array_equal(x, same)
    assert len(read) == 24


def change_date(folder):
    os.utime(folder / "05.png", (1, 1))


def change_size(folder):
    status = os.stat(folder / "05.png")
    with open(folder / "05.png", "ab") as file:
        file.write(b"x")
    os.utime(folder / "05.png", ns=(status.st_atime_ns, status.st_mtime_ns))


def change_name(folder):
    os.rename(folder / "05.png", folder / "5.png")


def add_file(folder):
    plain((250, 9, 100)).save(folder / "25.png")


def remove_file(folder):
    os.remove(folder / "05.png")


@pytest.mark.parametrize("change", [change_date, change_size, change_name, add_file, remove_file])
def test_any_change_is_seen(folder, cache, read, change):
    picture_folder.load_pictures(folder)
    read.clear()
    change(folder)
    total = sum(map(len, picture_folder.load_pictures(folder)))
    assert len(read) == total == 24 + (change is add_file) - (change is remove_file)
    assert len(os.listdir(cache)) == 1  # what is out of date does not pile up


def flip(file, tmp_path):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def other_shape(file, tmp_path):
    with np.load(file) as arrays:
        arrays = dict(arrays)
    np.savez(file, **{**arrays, "x": arrays["x"][:-1]})


def hostile(file, tmp_path):
    with np.load(file) as arrays:
        arrays = dict(arrays)
    np.savez(file, **{**arrays, "x": np.array([Hostile(tmp_path / "owned")], dtype=object)})


DAMAGES = {
    "flipped": flip, "shape": other_shape, "hostile": hostile,
    "cut": lambda file, _: file.write_bytes(file.read_bytes()[:-1000]),
    "empty": lambda file, _: file.write_bytes(b""),
    "text": lambda file, _: file.write_text("no cache"),
    "pickle": lambda file, tmp_path: file.write_bytes(pickle.dumps(Hostile(tmp_path / "owned"))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_made_again(folder, cache, read, tmp_path, damage):
    first = picture_folder.load_pictures(folder)
    file, = cache.iterdir()
    good = file.read_bytes()
    DAMAGES[damage](file, tmp_path)
    for x, same in zip(first, picture_folder.load_pictures(folder)):
        assert np.array_equal(x, same)
    assert len(read) == 48 and len(file.read_bytes()) == len(good) and not (tmp_path / "owned").exists()


def test_interrupted_reading_leaves_nothing(folder, cache, monkeypatch):
    original = picture_folder.ThreadPoolExecutor.map

    def interrupted(pool, *args):
        results = original(pool, *args)
        yield from (next(results) for _ in range(12))
        raise KeyboardInterrupt  # what Ctrl-C does in the main thread

    monkeypatch.setattr(picture_folder.ThreadPoolExecutor, "map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        picture_folder.load_pictures(folder)
    assert not cache.exists()


def test_no_semaphores(folder, monkeypatch):
    """As in a container without /dev/shm."""
    def fail(*args, **kwargs):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", fail)
    assert sum(map(len, picture_folder.load_pictures(folder))) == 24


def test_no_place_for_a_cache(folder, cache, capsys):
    cache.parent.mkdir()
    cache.write_text("in the way")
    assert sum(map(len, picture_folder.load_pictures(folder))) == 24
    warning, = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: ") and str(cache) in warning


@pytest.mark.parametrize("platform, environment, expected", [
    ("linux", {"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x"), ("linux", {"HOME": "/h"}, "/h/.cache"),
    ("linux", {"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache"), ("linux", {}, None),
    ("darwin", {"HOME": "/h"}, "/h/Library/Caches"), ("darwin", {}, None), ("linux", {"HOME": ""}, None),
    ("win32", {"LOCALAPPDATA": "/l", "HOME": "/h"}, "/l"), ("win32", {"HOME": "/h"}, None)])
def test_cache_folder(monkeypatch, platform, environment, expected):
    for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert picture_folder.cache_folder() == Path(expected or tempfile.gettempdir(), "colourization")


# Commands


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Make 72 pictures: dark green ground below a bright blue sky, a yellow sun in some, all of other sizes."""
    folder, rng = tmp_path / "scenes", np.random.default_rng(0)
    for i in range(72):
        width, height = rng.integers(40, 80, 2)
        pixels = np.empty((height, width, 3))
        horizon = rng.integers(height // 3, 2 * height // 3)
        pixels[:horizon], pixels[horizon:] = (90, 140, 230), (40, 90, 20)
        y, x = rng.integers(0, horizon), rng.integers(0, width)
        pixels[max(0, y - 6):y + 6, max(0, x - 6):x + 6] = (250, 240, 120)
        pixels += rng.normal(0, 6, (height, width, 1))
        path = folder / "abc"[i % 3] / f"{i}.{('jpg', 'png', 'webp')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def test_training_on_a_folder(scenes, tmp_path, monkeypatch, capsys):
    data, weights, outdir = ["--data", str(scenes)], tmp_path / "scenes.pkl", ["--outdir", str(tmp_path / "outputs")]
    kmeans.main([*data, "-k", "5", "-o", str(tmp_path / "my.npy")])
    palette = Palette.load(tmp_path / "my.npy")
    assert min(np.abs(palette.centres * 256 - [90, 140, 230]).max(axis=1)) < 12  # the sky

    common = [*data, *outdir, "--colours", str(tmp_path / "my.npy"), "--checkpoint", str(weights)]
    colourization.main([*common, "-m", "UNet", "-f", "4", "-b", "10", "-e", "6", "-l", "0.01"])
    colourization.main([*common, "--valid", "--metrics", str(tmp_path / "scores.json")])
    scores = json.loads((tmp_path / "scores.json").read_text())

    x_train, x_test = picture_folder.load_pictures(scenes)
    majority = np.bincount(palette.labels(x_train).ravel()).argmax()
    assert scores["scenes"]["acc"] > (palette.labels(x_test) == majority).mean() + 0.1
    frequency = np.bincount(palette.labels(x_train).ravel(), minlength=5) / (len(x_train) * 1024)
    known_frequencies = -np.log(frequency)[palette.labels(x_test)].mean()
    assert scores["scenes"]["loss"] < 0.8 * known_frequencies
    sidecar = json.loads(weights.with_suffix(".json").read_text())
    assert sidecar["category"] == "pictures in scenes"
    assert capsys.readouterr().err.count("warning") == 0


@pytest.mark.parametrize("argv, reason", [
    (["-k", "3"], "say with -o"), (["-k", "3", "-o", "OUT", "--category", "cat"], "leave out --category"),
    (["-k", "200", "-o", "OUT"], "smaller -k")])
def test_kmeans_refuses(folder, tmp_path, capsys, argv, reason):
    argv = [str(tmp_path / "my.npy") if word == "OUT" else word for word in argv]
    with pytest.raises(SystemExit) as ended:
        kmeans.main([*argv, "--data", str(folder)])
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and error.startswith("error: ") and reason in error
    assert not (tmp_path / "my.npy").exists()


def test_load_data_says_what_is_there(folder, capsys, tmp_path):
    assert load_data.main(["--data", str(folder), "--outdir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert str(folder) in printed.out and "horse" not in printed.out and printed.err == ""
    assert "x_train    uint8 (" in printed.out
