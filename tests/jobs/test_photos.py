"""Photographs in and out: every kind of file, every size, and nothing that existed is lost."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import colourization
from colour.data import image_file
from colour.jobs import photos, plots
from colour.jobs.photos import colour_files
from colour.learning.task import Classification, Decoding, Regression
from colour.palette import Palette
from colour.system.cli import UserError
from colour.system.files import locked, sha256
from colour_regression import RegressionCNN
from colourization import CNN, DilatedUNet, UNet


def vivid(network):
    """A random network in eval mode, sure of its colours."""
    with torch.no_grad():
        network.finalconv.weight *= 1000
    return network.eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return vivid(UNet(3, 4, 24))


@pytest.fixture(scope="module")
def task():
    return Classification(Palette.load(), Decoding("annealed", keep_grey=True))


@pytest.fixture
def run(network, task, tmp_path):
    def run(*paths, **options):
        given = {"outdir": tmp_path / "out", "suffix": "UNet", "size": 32} | options
        return colour_files(paths, network, task, **given)

    return run


def noise(*shape, seed=0):
    """Smooth enough for a palette, with every extreme."""
    values = np.random.default_rng(seed).integers(0, 256, shape)
    values[0], values[-1] = 0, 255
    return values.astype(np.uint8)


RGB = noise(30, 41, 3)
GREY = noise(30, 41)
ALPHA = noise(30, 41, seed=1)


def picture(array, mode=None):
    image = Image.fromarray(array)
    return image.convert(mode) if mode else image


def three(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=-1)


LAYERS = np.dstack([RGB, ALPHA])


@pytest.mark.parametrize("name, pixels", [("grey.png", GREY), ("alpha.png", LAYERS), ("alpha.tif", LAYERS),
                                          ("grey_alpha.png", np.dstack([GREY, ALPHA]))])
def test_brightness_and_alpha_stay(name, pixels, tmp_path, run):
    picture(pixels).save(tmp_path / name)
    assert run(tmp_path / name) == 0
    with Image.open((tmp_path / "out" / name).with_name(f"{name.split('.')[0]}_UNet.png")) as result:
        coloured, expected = np.asarray(result), np.asarray(picture(pixels).convert(result.mode))
    assert (coloured[..., :3].sum(axis=-1, dtype=int) == expected[..., :3].sum(axis=-1, dtype=int)).all()
    assert (coloured[..., 3:] == expected[..., 3:]).all() and coloured.shape[2] == (4 if "alpha" in name else 3)
    assert np.ptp(coloured[..., :3], axis=-1).max() > 10


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 2), (3, 500), (4000, 3), (5, 7), (200_000, 1), (1030, 515)])
def test_sizes(width, height, tmp_path, run):
    pixels = noise(height, width, 3)
    picture(pixels).save(tmp_path / "a.png")
    assert run(tmp_path / "a.png") == 0
    with Image.open(tmp_path / "out" / "a_UNet.png") as result:
        assert result.size == (width, height)
        assert (np.asarray(result).sum(axis=-1, dtype=int) == pixels.sum(axis=-1, dtype=int)).all()
    with Image.open(tmp_path / "out" / "a_UNet_compare.png") as compare:
        assert max(compare.size) <= 1600


@pytest.mark.parametrize("size", [4, 32, 100])
@pytest.mark.parametrize("make", [lambda: CNN(3, 4, 24), lambda: DilatedUNet(3, 4, 24), lambda: RegressionCNN(3, 4)])
def test_networks_and_working_sizes(make, size, tmp_path, task):
    torch.manual_seed(0)
    network = vivid(make())
    task = Regression() if isinstance(network, RegressionCNN) else task
    picture(RGB).save(tmp_path / "a.png")
    assert colour_files([tmp_path / "a.png"], network, task, outdir=tmp_path, suffix="X", size=size) == 0
    with Image.open(tmp_path / "a_X.png") as result:
        assert (np.asarray(result).sum(axis=-1) == RGB.sum(axis=-1)).all()


def test_any_coefficients_give_bytes_of_the_same_sum():
    pixels = noise(600, 520, 3)
    pixels[:256, :, :] = np.arange(256)[:, None, None]
    pixels[300:320] = pixels[300:320] // 255 * 255
    generator = np.random.default_rng(0)
    for spread in (1e-3, 0.1, 10, 1e6):
        image = picture(pixels)
        photos.tint(image, generator.normal(0, spread, (2, 3, 9, 8)).astype(np.float32))
        result = np.asarray(image)
        assert (result.sum(axis=-1, dtype=int) == pixels.sum(axis=-1, dtype=int)).all()


def test_tiles_leave_no_seams(monkeypatch):
    coefficients = np.random.default_rng(0).normal(0, 0.2, (2, 3, 9, 8)).astype(np.float32)
    results = []
    for tile in (17, 1000):
        monkeypatch.setattr(photos, "TILE", tile)
        image = picture(LAYERS)
        photos.tint(image, coefficients)
        results.append(np.asarray(image).astype(int))
    assert abs(results[0] - results[1]).max() <= 1


def test_guided_filter_against_least_squares(monkeypatch):
    """In each window a line is fitted; each pixel takes the mean of the lines of the windows it is in."""
    monkeypatch.setattr(photos, "RADIUS", 1)
    generator = np.random.default_rng(0)
    grey, chroma = generator.random((6, 7)), generator.normal(0, 0.1, (3, 6, 7))
    padded = np.pad(grey, 1, mode="edge"), np.pad(chroma, ((0, 0), (1, 1), (1, 1)), mode="edge")
    lines = np.empty((2, 3, 6, 7))
    for c, i, j in np.ndindex(3, 6, 7):
        x, y = padded[0][i:i + 3, j:j + 3].ravel(), padded[1][c, i:i + 3, j:j + 3].ravel()
        # The penalty on the slope as one more equation; the offset carries none.
        design = np.vstack([np.stack([x, np.ones(9)], axis=1), [np.sqrt(9 * photos.EPSILON), 0]])
        lines[:, c, i, j] = np.linalg.lstsq(design, np.append(y, 0), rcond=None)[0]
    lines = np.pad(lines, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    expected = sum(lines[..., i:i + 6, j:j + 7] for i in range(3) for j in range(3)) / 9
    np.testing.assert_allclose(photos.guided(grey, chroma), expected, rtol=1e-6, atol=1e-9)


def test_colour_stops_at_an_edge():
    """A red half beside a grey one, at 40 times the network's size: beyond the edge there is but a trace of red."""
    grey = np.full((16, 16), 0.3)
    grey[:, 8:] = 0.8
    chroma = np.zeros((3, 16, 16))
    chroma[:, :, :8] = np.array([0.2, -0.1, -0.1])[:, None, None]
    image = picture(np.kron(three((grey * 256).astype(np.uint8)), np.ones((40, 40, 1), np.uint8)))
    photos.tint(image, photos.guided(grey, chroma).astype(np.float32))
    red = np.asarray(image)[300, :, 0].astype(int) - np.asarray(image)[300, :, 1]
    assert red[:320].min() > 60 and red[320:].max() < 20  # enlarged by itself it would be 38 at the edge


@pytest.mark.parametrize("height, width", [(12, 16), (1, 1)])
def test_the_mirror_image_has_the_mirrored_colours(height, width, network, task):
    grey = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    chroma = photos.chroma_of(network, task, grey)
    assert chroma.shape == (1, 3, height, width) and abs(chroma.sum(dim=1)).max() < 1e-6
    if width > 1:
        torch.testing.assert_close(photos.chroma_of(network, task, grey.flip(-1)), chroma.flip(-1))
        assert abs(chroma - chroma.flip(-1)).max() > 0.1


def jpeg() -> bytes:
    file = io.BytesIO()
    picture(RGB).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(("name", "content", "said"), [
    ("truncated.jpg", jpeg()[:jpeg().rfind(b"\xff\xda") + 15], "truncated"),
    ("text.png", b"not a picture\n", "not a picture"),
    ("empty.png", b"", "not a picture"),
])
def test_a_folder_with_an_unreadable_file(name, content, said, tmp_path, run, capsys, recwarn):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(content)
    picture(RGB).save(folder / "a.png")
    picture(RGB).save(folder / "z.jpg")
    assert run(folder) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_UNet.png", "a_UNet_compare.png", "z_UNet.png", "z_UNet_compare.png"]
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and name in lines[0] and said in lines[0]
    assert "Traceback" not in err and not recwarn.list


def test_two_sizes_are_averaged_and_local_colour_is_weakened(monkeypatch):
    """A network that sees red in the top half of the smaller picture, and nothing in the larger one."""
    seen = []

    class Top(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            seen.append(tuple(x.shape))
            rgb = x.repeat(1, 3, 1, 1)
            if x.shape[-1] == 16:
                rgb[:, 0, :8] += 0.3
            return rgb

    monkeypatch.setattr(photos, "guided", lambda grey, chroma: seen.append(chroma) or np.zeros((2, 3, 16, 16), "f4"))
    photos.colour(Image.new("RGB", (64, 64), (128, 128, 128)), Top(), Regression(), 16)
    assert seen[:2] == [(2, 1, 16, 16), (2, 1, 32, 32)]
    red = np.repeat([0.1, 0], 8)[:, None] * np.ones(16)  # half of 0.3 less its mean over the channels
    np.testing.assert_allclose(seen[2][0], 0.05 + photos.LOCAL * (red - 0.05), atol=1e-6)


def test_a_result_that_cannot_be_written_is_reported(tmp_path, run, capsys):
    picture(RGB).save(tmp_path / "a.png")
    (tmp_path / "out" / "a_UNet.png").mkdir(parents=True)
    assert run(tmp_path / "a.png") == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_UNet.png"]


def test_photos_of_the_same_name_have_results_of_their_own(tmp_path, run, capsys):
    for i, name in enumerate(("a.png", "b/a.jpg", "b/A.png", "c/a-2.png", "c/deep/a.webp")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10 + i, 10)).save(path)
    assert run(tmp_path / "in", tmp_path / "in" / "a.png", tmp_path / "in" / "b") == 0
    widths = {path.name: Image.open(path).width for path in (tmp_path / "out").glob("*_UNet.png")}
    assert widths == {"a_UNet.png": 10, "A_UNet.png": 12, "a-2_UNet.png": 11, "a-2-2_UNet.png": 13,
                      "a-3_UNet.png": 14}
    assert capsys.readouterr().out.count("\n") == 5


def test_an_input_is_never_overwritten(tmp_path, run):
    """Not even by one photo whose result would have the name of another, or by a link to it."""
    for name in ("a.png", "a_UNet.png", "a-2_UNet_compare.png", "b.jpg"):
        picture(noise(8, 9, 3, seed=len(name))).save(tmp_path / name)
    (tmp_path / "b_UNet.png").symlink_to(tmp_path / "b.jpg")
    inputs = [tmp_path / name for name in ("a.png", "a_UNet.png", "a-2_UNet_compare.png", "b.jpg")]
    before = [sha256(path) for path in inputs]
    for _ in range(2):  # again, over its own results
        assert run(*inputs, outdir=tmp_path) == 0
        assert [sha256(path) for path in inputs] == before
        results = {path.name for path in tmp_path.iterdir()} - {path.name for path in inputs}
        assert results == {"a-3_UNet.png", "a-3_UNet_compare.png", "a_UNet_UNet.png", "a_UNet_UNet_compare.png",
                           "a-2_UNet_compare_UNet.png", "a-2_UNet_compare_UNet_compare.png",
                           "b_UNet.png", "b-2_UNet.png", "b-2_UNet_compare.png"}


def test_a_photo_that_is_named_twice_is_coloured_once(tmp_path, monkeypatch):
    picture(RGB).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in photos.find_photos(["a.png", tmp_path, "./a.png"])] == ["a.png"]


def test_a_folder_is_searched_for_pictures_only(tmp_path, run):
    picture(RGB).save(tmp_path / "a.PNG")
    for name in ("notes.txt", "film.mpg", ".hidden.png", ".thumbnails/a.png", "x.png/b.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "x.png" / "b.jpg").unlink()
    for suffix in ("UNet", "CNN"):  # the second does not colour what the first made
        assert run(tmp_path, outdir=tmp_path, suffix=suffix) == 0
    assert {path.name for path in tmp_path.glob("a*")} == {
        "a.PNG", "a_UNet.png", "a_UNet_compare.png", "a_CNN.png", "a_CNN_compare.png"}


def test_a_truncated_photo_is_coloured_with_a_warning(tmp_path, run, capsys):
    (tmp_path / "a.jpg").write_bytes(jpeg()[:-2])
    (tmp_path / "b.jpg").write_bytes(jpeg())
    assert run(tmp_path / "a.jpg", tmp_path / "b.jpg") == 0
    for name in "ab":
        with Image.open(tmp_path / "out" / f"{name}_UNet.png") as result:
            assert result.size == (41, 30)
    error = capsys.readouterr().err
    assert error.startswith("warning: ") and "a.jpg" in error and "truncated" in error and error.count("\n") == 1


def test_an_empty_name_is_refused(tmp_path, run, monkeypatch):
    """As an unset variable of the shell leaves it."""
    picture(RGB).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for paths in ([""], ["a.png", ""]):
        with pytest.raises(UserError, match="--image: there is no "):
            run(*paths)
    assert not (tmp_path / "out").exists()


def test_drawings_of_this_project_are_not_photos(tmp_path, run):
    """A folder of results has strips, sheets and curves beside the photos."""
    plots.picture(tmp_path / "strip.png", RGB.transpose(2, 0, 1) / 256)
    plots.training_curve(tmp_path / "curve.png", [{"loss": 1, "val_loss": 1}], "loss")
    with pytest.raises(UserError, match="no pictures"):
        run(tmp_path)
    picture(RGB).save(tmp_path / "a.png")
    assert run(tmp_path) == 0 and len(list((tmp_path / "out").iterdir())) == 2


def test_long_names_are_shortened(tmp_path, run):
    names = ["n" * 240 + ".png", "n" * 239 + "m.png", "ä" * 120 + ".png", "\U0001f40e" * 60 + ".png"]
    for i, name in enumerate(names):
        Image.new("RGB", (10 + i, 10)).save(tmp_path / name)
    assert run(*(tmp_path / name for name in names), suffix="RegressionCNN") == 0
    widths = {Image.open(path).width: path.name for path in (tmp_path / "out").glob("*_RegressionCNN.png")}
    assert widths == {10: "n" * 150 + "_RegressionCNN.png", 11: "n" * 150 + "-2_RegressionCNN.png",
                      12: "ä" * 75 + "_RegressionCNN.png", 13: "\U0001f40e" * 37 + "_RegressionCNN.png"}


def test_names_reach_the_terminal_without_control_characters(tmp_path, run, capsys):
    picture(RGB).save(tmp_path / "a\x1b[31m\nb.png")
    (tmp_path / "c\x07\nd.jpg").write_bytes(b"")
    (tmp_path / "e\n\x1b.jpg").write_bytes(jpeg()[:-2])
    assert run(tmp_path) == 1
    assert (tmp_path / "out" / "a\x1b[31m\nb_UNet.png").exists()
    out, err = capsys.readouterr()
    assert out.count("\n") == err.count("\n") == 2 and not set(out + err) & set("\x1b\x07")


def test_a_result_of_another_photo_is_kept(tmp_path, run):
    """Of an earlier run, or not a result at all; the same photo replaces its own."""
    for i, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (10 + i, 10)).save(tmp_path / folder / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_UNet_compare.png").write_bytes(b"mine")
    for _ in range(2):
        for folder in "one", "two":
            assert run(tmp_path / folder) == 0
        assert (tmp_path / "out" / "a_UNet_compare.png").read_bytes() == b"mine"
        widths = {path.name: Image.open(path).width for path in (tmp_path / "out").glob("*_UNet.png")}
        assert widths == {"a-2_UNet.png": 10, "a-3_UNet.png": 11}
    Image.new("RGB", (12, 10)).save(tmp_path / "one" / "a.png")  # another photo of the same name
    assert run(tmp_path / "one") == 0
    widths = {path.name: Image.open(path).width for path in (tmp_path / "out").glob("*_UNet.png")}
    assert widths == {"a-2_UNet.png": 10, "a-3_UNet.png": 11, "a-4_UNet.png": 12}


def test_results_of_other_settings_are_kept(tmp_path, run, network, task):
    """Of another size, decoder, palette or weights; the same settings replace their own."""
    picture(RGB).save(tmp_path / "a.png")
    other = vivid(UNet(3, 4, 24))
    settings = [{}, {"size": 16}, {"task": task.with_decoding(decoder="mean")},
                {"task": task.with_decoding(temperature=0.1)},
                {"task": replace(task, palette=Palette(task.palette.centres[::-1]))}, {"network": other}]
    for _ in range(2):
        for changes in settings:
            given = {"network": network, "task": task, "size": 32, "outdir": tmp_path / "out", "suffix": "UNet"}
            assert colour_files([tmp_path / "a.png"], **given | changes) == 0
    numbers = ["", *(f"-{i}" for i in range(2, len(settings) + 1))]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"a{number}_UNet{end}.png" for number in numbers for end in ("", "_compare")}


def test_a_name_that_another_process_uses_is_left_to_it(tmp_path, run):
    picture(RGB).save(tmp_path / "a.png")
    with locked(tmp_path / "out" / ".a_UNet.lock"):
        assert run(tmp_path / "a.png") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a-2_UNet.png", "a-2_UNet_compare.png"}


@pytest.mark.parametrize("error, where", [
    (MemoryError(), (Image.Image, "load")), (MemoryError(), (photos, "colour")),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), (photos, "colour"))])
def test_memory_that_is_not_enough_for_one_photo(error, where, tmp_path, run, capsys, monkeypatch):
    for i, name in enumerate("abc"):
        picture(noise(30, 40 + i, 3)).save(tmp_path / f"{name}.bmp")
    original = getattr(*where)

    def fail(image, *args):
        if image.width == 41:
            raise error
        return original(image, *args)

    monkeypatch.setattr(*where, fail)
    assert run(tmp_path) == 1
    out, err = capsys.readouterr()
    assert err == f"error: {tmp_path}/b.bmp: there is not enough memory for it: reduce it first\n"
    assert out.count("\n") == 2


def test_results_of_any_network_are_passed_over(tmp_path, run):
    picture(RGB).save(tmp_path / "a.png")
    for suffix in ("ResUNet", "my network", "UNet"):
        assert run(tmp_path, outdir=tmp_path, suffix=suffix) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.png", *(f"a_{suffix}{end}.png" for suffix in ("ResUNet", "my network", "UNet") for end in ("", "_compare"))}
    picture(RGB).save(tmp_path / "b_UNet.png")  # a photo that is named like a result
    assert run(tmp_path, outdir=tmp_path) == 0
    assert (tmp_path / "b_UNet_UNet.png").exists()
    assert run(tmp_path / "a_UNet.png", outdir=tmp_path) == 0  # a result that is asked for by name
    assert (tmp_path / "a_UNet_UNet.png").exists()


def test_links_to_folders_are_followed_and_loops_end(tmp_path, run):
    (tmp_path / "elsewhere").mkdir()
    picture(RGB).save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in").mkdir()
    picture(RGB).save(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "@eaDir").mkdir()
    picture(RGB).save(tmp_path / "in" / "@eaDir" / "c.png")
    assert run(tmp_path / "in") == 0
    assert {path.name for path in (tmp_path / "out").glob("*_UNet.png")} == {"a_UNet.png", "b_UNet.png"}


def test_heic_in_a_folder_is_named(tmp_path, run, capsys):
    if ".heic" in image_file.suffixes():
        pytest.skip("pillow-heif is installed")
    picture(RGB).save(tmp_path / "a.png")
    (tmp_path / "b.HEIC").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    assert run(tmp_path) == 0
    error = capsys.readouterr().err
    assert "b.HEIC" in error and "pillow-heif" in error and error.count("\n") == 1
    assert run(tmp_path / "b.HEIC") == 1
    assert "pip install pillow-heif" in capsys.readouterr().err


def test_date_camera_and_resolution_stay_with_the_result(tmp_path, run):
    exif = Image.Exif()
    exif.update({270: "A horse", 272: "Model", 274: 6, 306: "2020:01:02 03:04:05"})
    exif[0x8769] = {36867: "1999:01:02 03:04:05"}
    picture(RGB).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    assert run(tmp_path / "a.jpg") == 0
    with Image.open(tmp_path / "out" / "a_UNet.png") as result:
        kept = result.getexif()
        assert dict(kept) | {34665: 0} == {270: "A horse", 272: "Model", 306: "2020:01:02 03:04:05", 34665: 0}
        assert kept.get_ifd(0x8769) == {36867: "1999:01:02 03:04:05"}
        assert result.size == (30, 41) and round(result.info["dpi"][0]) == 300


def test_nothing_to_do(tmp_path, run):
    with pytest.raises(UserError, match="no pictures in"):
        run(tmp_path)
    with pytest.raises(UserError, match="there is no .*gone.jpg"):
        run(tmp_path, tmp_path / "gone.jpg")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("pixels", "width", "height"), [
    (noise(30, 40, 3), 3 * 40 + 16, 30),
    (three(noise(30, 40)), 2 * 40 + 8, 30),
    (noise(100, 120, 3), 160, 40),
    (noise(100, 200, 3), 160, 24),
    (noise(20, 30, 4), 3 * 30 + 16, 20),
])
def test_the_comparison(pixels, width, height, tmp_path, run, monkeypatch):
    """Grey, coloured and the original, unless that had no colour."""
    monkeypatch.setattr(photos, "COMPARE_WIDTH", 160)
    picture(pixels).save(tmp_path / "a.png")
    assert run(tmp_path / "a.png") == 0
    with Image.open(tmp_path / "out" / "a_UNet_compare.png") as compare:
        assert (compare.mode, compare.size) == ("RGB", (width, height))


def test_the_comparison_shows_grey_first_and_the_original_last(tmp_path, run):
    picture(RGB).save(tmp_path / "a.png")
    assert run(tmp_path / "a.png") == 0
    with Image.open(tmp_path / "out" / "a_UNet_compare.png") as compare:
        sheet = np.asarray(compare)
    with Image.open(tmp_path / "out" / "a_UNet.png") as result:
        coloured = np.asarray(result)
    assert (sheet[:, :41] == three(np.round(RGB.mean(axis=-1)))).all()
    assert (sheet[:, 49:90] == coloured).all()
    assert (sheet[:, 98:] == RGB).all()


@pytest.mark.parametrize("flags, decoder, temperature, size", [
    ((), "annealed", 0.7, 32),
    (("--decode", "argmax", "--temperature", "0.5", "--size", "64", "--keep_grey"), "argmax", 0.5, 64)])
def test_photos_are_annealed_unless_told_otherwise(flags, decoder, temperature, size, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(photos, "colour_files", lambda files, network, task, size, **_: seen.extend([task, size]))
    colourization.main(["--image", "photo.jpg", "--outdir", str(tmp_path), *flags])
    assert (seen[0].decoding.decoder, seen[0].decoding.temperature, seen[1]) == (decoder, temperature, size)
    assert seen[0].decoding.keep_grey == ("--keep_grey" in flags)
