"""k-means: learning a palette, and its command."""

import os

import numpy as np
import pytest

from colour import kmeans
from colour.data import of_one_label
from colour.data.datasets import Choice
from colour.palette import Palette
from colour.system.cli import UserError
from tests.helpers import GRID, one_line, pictures_of


@pytest.fixture
def one_thread():
    """Use one thread: scikit-learn adds the results of threads in the order they end, so the last bits may differ."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def test_clusters_are_of_colours():
    colours = np.array([[250, 10, 90], [3, 2, 1], [0, 200, 0], [30, 60, 255], [128, 128, 128]])
    palette, distance = kmeans.learn_palette(pictures_of(colours, [7, 30, 1, 20, 6]), 5)
    assert distance == pytest.approx(0, abs=1e-6)
    assert palette.centres.dtype == np.float32
    assert palette.centres * 256 == pytest.approx(np.array(sorted(colours.tolist(), key=sum)), abs=1e-4)


def test_every_picture_counts():
    images = np.zeros((2001, 3, 1, 1), np.uint8)
    images[[999, 1000, 2000], 0, 0, 0] = 50, 100, 200
    palette, _ = kmeans.learn_palette(images, 4)
    assert palette.centres[:, 0] * 256 == pytest.approx([0, 50, 100, 200], abs=1e-4)


def test_colours_weigh_by_frequency():
    colours = [[10, 0, 0], [20, 0, 0], [200, 240, 200], [200, 250, 200]]
    counts = [9, 1, 2, 4]
    palette, distance = kmeans.learn_palette(pictures_of(colours, counts), 2)
    expected = np.array([[11, 0, 0], [200, 740 / 3, 200]])  # the means of the pixels, not of the colours
    assert palette.centres * 256 == pytest.approx(expected, abs=1e-4)
    assert distance * 256 == pytest.approx((9 * 1 + 1 * 9 + 2 * (20 / 3) + 4 * (10 / 3)) / 16, abs=1e-6)


def test_objective_of_plain_kmeans(horses, one_thread):
    from sklearn.cluster import KMeans

    images = horses[:12, :, ::4, ::4] // 32 * 32  # few colours, each often
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, 3) / 256
    assert len(np.unique(pixels, axis=0)) < len(pixels) / 3
    palette, distance = kmeans.learn_palette(images, 4)
    to_centres = np.linalg.norm(pixels[:, None] - palette.centres, axis=2)
    assert distance == pytest.approx(to_centres.min(axis=1).mean(), abs=1e-6)
    # A fixed point of k-means over all pixels: they are not worse off than with the best of many plain runs.
    assert KMeans(4, init=palette.centres.astype(float), n_init=1).fit(pixels).cluster_centers_ == pytest.approx(
        palette.centres, abs=1e-5)
    plain = min((KMeans(4, n_init=1, random_state=seed).fit(pixels) for seed in range(5)), key=lambda m: m.inertia_)
    plain_distance = np.linalg.norm(pixels - plain.cluster_centers_[plain.labels_], axis=1).mean()
    assert distance <= plain_distance * 1.02


def test_the_best_of_several_starts_is_taken(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    _, best = kmeans.learn_palette(images, 8)
    monkeypatch.setattr(kmeans, "STARTS", 1)
    first, *others = (kmeans.learn_palette(images, 8, seed)[1] for seed in range(4))
    assert best == min(others) < min(first, others[-1])


def test_same_seed_same_palette(horses, one_thread):
    images = horses[:20]
    first, distance = kmeans.learn_palette(images, 8, seed=3)
    again, same_distance = kmeans.learn_palette(images.copy(), 8, seed=3)
    assert first.centres.tobytes() == again.centres.tobytes() and distance == same_distance
    assert (np.diff(first.centres.mean(axis=1)) >= 0).all()


def test_too_few_colours():
    with pytest.raises(UserError) as error:
        kmeans.learn_palette(pictures_of([[1, 2, 3], [4, 5, 6]], [10, 6]), 3)
    assert "only 2 different colours" in one_line(error) and "-k" in one_line(error)


def test_chroma_ignores_brightness():
    """Two hues, each dark and bright: by RGB, two colours would be the dark and the bright ones."""
    colours = np.array([[40, 20, 30], [20, 40, 30], [220, 200, 210], [205, 225, 215]])
    images = pictures_of(colours, [10, 6, 9, 7])
    palette, distance = kmeans.learn_palette(images, 2, chroma=True)
    assert palette.centres * 256 == pytest.approx(np.array([[118, 138, 128], [138, 118, 128]]), abs=1e-3)
    assert distance == pytest.approx(0, abs=1e-6)
    redder = images[:, 0].astype(int) > images[:, 1]
    assert (palette.labels(images) == redder).all()
    with pytest.raises(UserError, match="only 2 different colours"):
        kmeans.learn_palette(images, 3, chroma=True)


@pytest.fixture
def few_pictures(monkeypatch):
    def use(images):
        monkeypatch.setattr(Choice, "load", lambda choice: of_one_label(images, images[:1]))
    use(pictures_of(GRID, [8, 4, 2, 2]))
    return use


def test_palette_is_written_or_kept(few_pictures, tmp_path, capsys):
    file = tmp_path / "new folder" / "mine.npy"
    command = ["-k", "4", "-o", str(file)]
    assert kmeans.main(command) == 0
    assert "nearest colour: 0.0000" in capsys.readouterr().out
    assert (Palette.load(file).centres * 256).tolist() == GRID.tolist()
    written = file.read_bytes()

    assert kmeans.main(command) == 0
    assert "holds these colours" in capsys.readouterr().out and file.read_bytes() == written

    few_pictures(pictures_of(GRID // 2, [8, 4, 2, 2]))
    with pytest.raises(SystemExit) as exit:
        kmeans.main(command)
    progress, error = capsys.readouterr().err.splitlines()
    assert exit.value.code == 2
    assert error.startswith("error: ") and "--overwrite" in error and str(file) in error
    assert file.read_bytes() == written

    assert kmeans.main([*command, "--overwrite"]) == 0
    assert (Palette.load(file).centres * 256).tolist() == (GRID // 2).tolist()
    assert os.listdir(file.parent) == ["mine.npy"]


@pytest.mark.parametrize("category, name", [("7", "cat7"), ("horse", "cat7"), ("all", "catall")])
def test_default_file_name(few_pictures, tmp_path, monkeypatch, category, name):
    monkeypatch.setattr(kmeans, "ROOT", tmp_path)
    kmeans.main(["-k", "3", "--category", category])
    kmeans.main(["-k", "3", "--category", category, "--chroma"])
    assert sorted(file.name for file in tmp_path.rglob("*.npy")) == [
        f"colour_kmeans3_{name}.npy", f"colour_kmeans3_{name}_chroma.npy"]


@pytest.mark.parametrize("flags", [["-k", "1"], ["-k", "257"], ["-k", "x"], ["--category", "unicorn"], ["-k", "5"]])
def test_refused_flags(few_pictures, tmp_path, capsys, flags):
    with pytest.raises(SystemExit) as exit:
        kmeans.main([*flags, "-o", str(tmp_path / "x.npy")])
    assert exit.value.code == 2 and not list(tmp_path.iterdir())
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("k-means with")]
    assert len(errors) == 1 and errors[0].startswith("error: ")


