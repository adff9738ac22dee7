"""plots: every kind of picture, read back from its PNG."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from colour.jobs import plots
from colour.system.files import ROOT


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def read(path) -> np.ndarray:
    """The pixels of a PNG as uint8 (H, W, 3)."""
    return (imread(path)[..., :3] * 255).round().astype(np.uint8)


def pictures(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Random bytes (..., H, W), and the same as floats in units of 256."""
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return values, values / 256


def found(page: np.ndarray, picture: np.ndarray, scale: int, tolerance: int = 0) -> list[tuple[int, int]]:
    """Find uint8 (3, h, w), enlarged with hard pixels, in ``page`` (H, W, 3): (y, x) of top left corners."""
    page = page.astype(np.int16)
    block = np.kron(picture.transpose(1, 2, 0).astype(np.int16), np.ones((scale, scale, 1), np.int16))
    height, width, _ = block.shape
    places = np.argwhere(abs(page[:1 - height or None, :1 - width or None, 0] - block[0, 0, 0]) <= tolerance)
    for y, x in (0, 0), (0, -1), (-1, 0), (-1, -1):  # a quick look at four pixels
        pixels = page[places[:, 0] + y % height, places[:, 1] + x % width]
        places = places[(abs(pixels - block[y, x]) <= tolerance).all(axis=1)]
    return [(y, x) for y, x in places if (abs(page[y:y + height, x:x + width] - block) <= tolerance).all()]


def viridis(values: np.ndarray) -> np.ndarray:
    """Return the colours that matplotlib gives numbers (..., H, W) in [0, 1] as uint8 (..., 3, H, W)."""
    from matplotlib import colormaps

    return np.moveaxis(colormaps["viridis"](values, bytes=True)[..., :3], -1, -3)


def history(epochs: int, **more) -> list[dict]:
    return [dict(loss=2 / epoch, val_loss=2.1 / epoch, **more) for epoch in range(1, epochs + 1)]


def test_importing_does_not_import_matplotlib():
    code = "import sys; import colour.jobs.plots; assert not any(name.startswith('matplotlib') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


DRAW = """if True:
    import sys
    from colour.jobs import plots
    plots.training_curve("curve.png", [{'loss': 1, 'val_loss': 2}] * 3, "loss", "a title")
    plots.sheet("sheet.png", [[[0, 1]]], "x")
    assert "matplotlib.pyplot" not in sys.modules
    """


def drawn(folder, settings: bytes, **environment) -> subprocess.CompletedProcess:
    folder.mkdir()
    (folder / "matplotlibrc").write_bytes(settings)
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run([sys.executable, "-c", DRAW], cwd=folder, capture_output=True, text=True, env=environment)


def test_settings_of_matplotlib_change_nothing(tmp_path):
    """A notebook exports its backend, and a user may have a style."""
    assert drawn(tmp_path / "plain", b"").returncode == 0
    result = drawn(tmp_path / "styled", b"font.family: serif\nlines.linewidth: 9\naxes.facecolor: red\n",
                   MPLBACKEND="module://matplotlib_inline.backend_inline", MPLCONFIGDIR="/proc/closed")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for name in "curve.png", "sheet.png":
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "styled" / name).read_bytes()


def test_broken_settings_of_matplotlib_are_named(tmp_path):
    result = drawn(tmp_path / "x", b"\xff\xfe")
    assert "UserError: matplotlib cannot read its settings" in result.stderr


def test_picture_is_the_picture_enlarged(tmp_path):
    values, floats = pictures(3, 5, 7)
    plots.picture(tmp_path / "new" / "a.png", torch.from_numpy(floats), scale=3)
    expected = np.kron(values.transpose(1, 2, 0), np.ones((3, 3, 1), np.uint8))
    assert np.array_equal(read(tmp_path / "new" / "a.png"), expected)


def test_one_is_white_and_nothing_wraps_around(tmp_path):
    plots.picture(tmp_path / "a.png", np.array([[[-0.1, 1.0, 1.5]]]), scale=1)
    assert read(tmp_path / "a.png")[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("count, scale, columns", [(1, 4, 1), (10, 4, 10), (12, 3, 12), (13, 4, 7), (25, 4, 9)])
def test_comparison_has_hard_pixels_in_rows_and_strips(tmp_path, count, scale, columns):
    values, floats = pictures(2 * count, 3, 32, 32)
    grey, grey_floats = values[:count, :1], torch.from_numpy(floats[:count, :1]).requires_grad_()
    path = tmp_path / "strip.png"
    plots.comparison(path, [("grey", grey_floats), ("truth\n12.3 dB", floats[count:])], title="some horses")
    page = read(path)
    assert page.shape[1] <= plots.MAX_WIDTH

    row_height, strips = scale * 32 + plots.GAP, -(-count // columns)
    [(top, left)] = found(page, grey[0].repeat(3, axis=0), scale)
    last_strip, last_column = divmod(count - 1, columns)
    assert last_strip == strips - 1
    y, x = top + last_strip * (2 * row_height + plots.GAP), left + last_column * row_height
    assert found(page, grey[-1].repeat(3, axis=0), scale) == [(y, x)]
    assert found(page, values[-1], scale) == [(y + row_height, x)]
    for strip in range(strips):  # a label at the left of every row, clear of the edge and of the pictures
        for row in range(2):
            start = top + strip * (2 * row_height + plots.GAP) + row * row_height
            label = page[start:start + scale * 32, :left]
            assert (label < 128).any() and (label[:, :8] == 255).all() and (label[:, -8:] == 255).all()


@pytest.mark.parametrize("size, scale", [(8, 16), (64, 2), (128, 1), (900, 1)])
def test_comparison_of_other_sizes(tmp_path, size, scale):
    values, floats = pictures(2, 3, size, size)
    plots.comparison(tmp_path / "strip.png", [("a", floats)])
    page = read(tmp_path / "strip.png")
    assert found(page, values[0], scale) and found(page, values[1], scale)


def test_a_title_wider_than_the_pictures_is_not_cut_off(tmp_path):
    plots.comparison(tmp_path / "strip.png", [("a", np.zeros((1, 1, 32, 32)))], title="W" * 60)
    assert (read(tmp_path / "strip.png")[:, -plots.MARGIN // 2:] == 255).all()


def test_dollars_in_names_are_no_formulas(tmp_path):
    plots.comparison(tmp_path / "a.png", [(r"$\x$", np.zeros((1, 1, 4, 4)))], title=r"$\x$")
    plots.training_curve(tmp_path / "b.png", history(1), "loss", title=r"$\x$")


def test_training_curve_shows_accuracy_in_percent(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    plots.training_curve(tmp_path / "a.png", history(2, acc=0.3, val_acc=0.25), "loss")
    loss, accuracy = figures[0].axes
    assert accuracy.get_ylabel() == "accuracy (%)" and list(accuracy.lines[1].get_ydata()) == [25, 25]
    assert list(loss.lines[0].get_ydata()) == [record["loss"] for record in history(2)]


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_training_curve_has_both_lines_in_each_panel(tmp_path, epochs):
    plots.training_curve(tmp_path / "two.png", history(epochs, acc=0.3, val_acc=0.25), "loss", title="unet")
    plots.training_curve(tmp_path / "one.png", history(epochs), "loss")
    two, one = read(tmp_path / "two.png"), read(tmp_path / "one.png")
    assert two.shape[1] == 2 * one.shape[1] <= plots.MAX_WIDTH
    for panel in (one, two[:, :two.shape[1] // 2], two[:, two.shape[1] // 2:]):
        for colour in ((31, 119, 180), (255, 127, 14)):
            columns = np.argwhere((panel == colour).all(axis=2))[:, 1]
            assert len(columns) > 20
            # The legend is in one half of the panel at most: a marker or a line is elsewhere too.
            assert np.ptp(columns) > 100


@pytest.mark.parametrize("count, columns", [(1, 1), (3, 2), (24, 6), (32, 8)])
def test_sheet_scales_each_channel_to_its_own_range(tmp_path, count, columns):
    values, _ = pictures(count, 8, 8)
    channels = values * np.logspace(-3, 3, count)[:, None, None] - 5
    plots.sheet(tmp_path / "sheet.png", torch.from_numpy(channels), "downconv1")
    page = read(tmp_path / "sheet.png")
    scale = 16 if columns <= 6 else 12
    low, high = channels.min(axis=(1, 2), keepdims=True), channels.max(axis=(1, 2), keepdims=True)
    places = [found(page, channel, scale) for channel in viridis((channels - low) / (high - low))]
    assert all(len(place) == 1 for place in places)
    places = [place for [place] in places]
    assert places == sorted(places) and len({x for _, x in places}) == columns


def test_sheet_shows_a_constant_channel_in_plain_grey(tmp_path):
    channels = np.stack([np.zeros((4, 4)), np.full((4, 4), -1.5), np.eye(4), np.full((4, 4), np.nan)])
    plots.sheet(tmp_path / "sheet.png", channels, "rfconv")
    assert len(found(read(tmp_path / "sheet.png"), np.full((3, 4, 4), 176, np.uint8), 32)) == 3


def test_sheet_shows_the_colours_of_its_channels(tmp_path):
    colours = np.array([[200, 0, 0], [0, 100, 50]]) / 256
    plots.sheet(tmp_path / "sheet.png", np.random.rand(2, 4, 4), "finalconv", colours)
    page = read(tmp_path / "sheet.png")
    places = [found(page, np.array(colour, np.uint8)[:, None, None], 12) for colour in ((200, 0, 0), (0, 100, 50))]
    assert [len(place) for place in places] == [1, 1] and places[0][0][1] < places[1][0][1]  # the first on the left


def test_overview_shows_every_picture_and_channel_from_top_to_bottom(tmp_path):
    values, floats = pictures(2, 3, 32, 32)
    channels, small = np.random.default_rng(1).random((2, 40, 8, 8))
    small[0], channels[:, 0, :2], small[1:, 0, :2] = 0.5, (0, 1), (0, 1)  # what is not constant has its own range
    plots.overview(tmp_path / "all.png", {"a": floats[0], "b": torch.from_numpy(floats[1])},
                   {"first": torch.from_numpy(channels), "second": small[:3]}, "UNet, horse 7")
    page = read(tmp_path / "all.png")
    tiles = [*((value, 2) for value in values), *((tile, 8) for tile in viridis(channels)),
             (np.full((3, 8, 8), 176, np.uint8), 8), *((tile, 8) for tile in viridis(small[1:3]))]
    places = [found(page, *tile) for tile in tiles]
    assert all(len(place) == 1 for place in places)
    assert [place for [place] in places] == sorted(place for [place] in places)


def test_numbered_pictures_are_in_rows(tmp_path):
    values, _ = pictures(23, 3, 32, 32)
    plots.numbered(tmp_path / "all.png", values, "some horses")
    places = [found(read(tmp_path / "all.png"), value, 2) for value in values]
    assert all(len(place) == 1 for place in places)
    places = [place for [place] in places]
    assert places == sorted(places) and places[20][1] == places[0][1] and places[19][0] == places[0][0]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "strip.png"
    path.write_bytes(b"as it was")
    with pytest.raises(ValueError):
        plots.comparison(path, [("a", np.zeros((2, 3, 4, 4))), ("b", np.zeros((1, 3, 4, 4)))])
    assert path.read_bytes() == b"as it was"


def test_a_failure_while_writing_leaves_nothing_half_written(tmp_path, monkeypatch):
    import PIL.Image

    def fail(self, file, **options):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(PIL.Image.Image, "save", fail)
    for draw in (lambda path: plots.picture(path, np.zeros((1, 4, 4))),
                 lambda path: plots.sheet(path, np.zeros((1, 4, 4)), "x"),
                 lambda path: plots.training_curve(path, history(2), "loss")):
        with pytest.raises(OSError, match="disk full"):
            draw(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
