"""Metrics and baselines, against values worked out by hand and against other formulas."""

import math

import numpy as np
import pytest
import torch

from colour.learning.baselines import baselines
from colour.learning.pictures import PictureSet, load_sets
from colour.learning.task import Classification
from colour.metrics import Scores, colourfulness, table
from colour.palette import Palette

PALETTE = Palette(np.random.default_rng(0).random((9, 3)) * 255 / 256)


def random_batch(n: int) -> dict[str, torch.Tensor]:
    """Return what ``Scores.add`` takes: pictures and the truth."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(n, 3, 8, 8, generator=generator) for name in ("prediction", "truth")}


def scored(**batch) -> dict[str, float]:
    scores = Scores()
    scores.add(**batch)
    return scores.result()


def pictures(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images, of grey levels about 40 to 99 and 200, and their labels."""
    rng = np.random.default_rng(seed)
    images = (rng.integers(40, 100, (n, 1, 4, 4)) + rng.integers(-9, 10, (n, 3, 4, 4))).astype(np.uint8)
    images[0, :, 0, 0] = 200
    return torch.from_numpy(images), torch.from_numpy(PALETTE.labels(images))


# Scores


def test_scores_by_hand():
    """Four pixels: a red one and three black ones, predicted too dark and too green."""
    truth = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).T.reshape(1, 3, 2, 2) / 2
    prediction = torch.zeros(1, 3, 2, 2)
    prediction[0, :, 0, 0] = torch.tensor([0, 0.125, 0])
    figures = scored(prediction=prediction, truth=truth, guess=torch.tensor([[[2, 1], [0, 1]]]),
                     labels=torch.tensor([[[0, 1], [1, 1]]]))
    assert figures["acc"] == 2 / 4
    assert figures["psnr"] == pytest.approx(-10 * math.log10((0.5**2 + 0.125**2) / 12))
    # The red pixel's grey is 1/6. On it, the chroma (-1, 2, -1) / 24 of the prediction gives (3, 6, 3) / 24, where
    # the truth is (12, 0, 0) / 24. The black pixels stay black.
    assert figures["colour"] == pytest.approx(-10 * math.log10((9**2 + 6**2 + 3**2) / 24**2 / 12), abs=1e-5)
    # Red minus green is 128, 0, 0, 0: mean 32, variance 3072. Yellow minus blue is half of it.
    assert figures["true_colourfulness"] == pytest.approx(math.sqrt(3072 * 1.25) + 0.3 * math.sqrt(32**2 * 1.25))


def test_scores_against_other_formulas():
    batch = random_batch(6)
    figures = scored(**batch)
    prediction, truth = batch["prediction"].double().numpy(), batch["truth"].double().numpy()
    error = prediction - truth
    assert figures["psnr"] == pytest.approx(10 * np.log10(error.size / np.sum(error**2)))
    error = 0
    for own, true in zip(prediction.transpose(0, 2, 3, 1).reshape(-1, 3), truth.transpose(0, 2, 3, 1).reshape(-1, 3)):
        grey, chroma = true.mean(), own - own.mean()
        # The largest share of the chroma, up to all of it, that leaves the three channels within [0, 1]
        share = min(1, *((1 - grey) / part if part > 0 else grey / -part for part in chroma))
        error += np.sum((grey + share * chroma - true) ** 2)
    assert figures["colour"] == pytest.approx(10 * np.log10(truth.size / error))
    for key, images in (("colourfulness", prediction), ("true_colourfulness", truth)):
        each = []
        for r, g, b in 256 * images:
            rg, yb = r - g, 0.5 * (r + g) - b
            each.append(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))
        assert figures[key] == pytest.approx(np.mean(each))
        np.testing.assert_allclose(colourfulness(torch.from_numpy(images)), each, rtol=1e-5)
    assert "acc" not in figures
    guess, labels = torch.randint(0, 9, (2, 6, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    assert scored(**batch, guess=guess, labels=labels) == figures | {"acc": np.mean(guess.numpy() == labels.numpy())}


def test_colour_does_not_see_brightness():
    """A wrong brightness costs PSNR but no colour; a grey prediction scores as the grey picture whatever its level."""
    truth = 0.4 + 0.2 * random_batch(3)["truth"]
    darker = scored(prediction=truth - 0.3, truth=truth)
    assert darker["psnr"] == pytest.approx(-20 * math.log10(0.3), abs=1e-4) and darker["colour"] == 100
    grey = truth.mean(dim=1, keepdim=True).expand_as(truth)
    own = scored(prediction=grey, truth=truth)
    assert own["psnr"] == pytest.approx(own["colour"], abs=1e-4)
    assert scored(prediction=torch.zeros_like(truth), truth=truth)["colour"] == pytest.approx(own["colour"], abs=1e-4)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_batches_do_not_matter(size):
    batch = random_batch(7)
    batch["guess"], batch["labels"] = batch["truth"][:, 0] > 0.5, batch["prediction"][:, 0] > 0.5
    scores = Scores()
    for start in range(0, 7, size):
        scores.add(**{name: value[start:start + size] for name, value in batch.items()})
    assert scores.result() == pytest.approx(scored(**batch), rel=1e-6)


def test_no_error_is_100_dB_and_nan_is_not():
    truth = random_batch(1)["truth"]
    assert scored(prediction=truth, truth=truth)["psnr"] == 100
    black = torch.zeros(1, 3, 2, 2)
    assert scored(prediction=black, truth=black)["colour"] == 100
    figures = scored(prediction=truth * math.nan, truth=truth)
    assert math.isnan(figures["psnr"]) and math.isnan(figures["colour"])


def test_a_grey_channel_is_no_prediction():
    with pytest.raises(ValueError, match="shape"):
        Scores().add(torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4))


# Baselines


def test_baselines_against_loops():
    images, labels = pictures(300, seed=1)
    valid_images, valid_labels = pictures(270, seed=2)  # more than are scored at a time
    valid_images[0, :, :, 0] = torch.tensor([1, 130, 160, 255], dtype=torch.uint8)  # levels that training lacks
    valid_labels = torch.from_numpy(PALETTE.labels(valid_images.numpy()))
    rows = baselines(PictureSet(images, labels), PictureSet(valid_images, valid_labels), PALETTE)

    counts, colours = np.zeros((256, 9), int), [[] for _ in range(256)]
    for picture, answer in zip(images.permute(0, 2, 3, 1).tolist(), labels.tolist(), strict=True):
        for y in range(4):
            for x in range(4):
                level = sum(picture[y][x]) // 3
                counts[level, answer[y][x]] += 1
                colours[level].append(picture[y][x])
    seen = [level for level in range(256) if colours[level]]

    def nearest(grey):
        return min(seen, key=lambda level: (abs(level - grey), level))

    levels = (valid_images.double().mean(dim=1) + 1e-9).floor().long()  # thirds may fall short of a whole number
    mean = torch.from_numpy(np.array([np.mean(colours[nearest(grey)], axis=0) for grey in range(256)]) / 256).float()
    guesses = {
        "most frequent colour per grey level": levels.clone().apply_(lambda grey: counts[nearest(grey)].argmax()),
        "palette ceiling": valid_labels,
    }
    assert list(rows) == ["all-grey picture", "mean colour per grey level", *guesses]
    truth = valid_images.float() / 256
    for name, guess in guesses.items():
        colours = torch.from_numpy(PALETTE.centres[guess.numpy()]).permute(0, 3, 1, 2)
        assert rows[name] == pytest.approx(scored(prediction=colours, truth=truth, guess=guess, labels=valid_labels))
        assert rows[name]["acc"] == (guess == valid_labels).double().mean()
    assert rows["palette ceiling"]["acc"] == 1
    by_level = rows["mean colour per grey level"]
    assert by_level == pytest.approx(scored(prediction=mean[levels].permute(0, 3, 1, 2), truth=truth))

    grey = rows["all-grey picture"]
    assert grey["psnr"] == pytest.approx(-10 * math.log10(truth.double().var(dim=1, correction=0).mean()))
    assert grey["colour"] == pytest.approx(grey["psnr"]) and grey["colourfulness"] == 0 and "acc" not in grey
    assert baselines(PictureSet(images), PictureSet(valid_images), None) == {
        "all-grey picture": grey, "mean colour per grey level": by_level}


def test_baselines_of_the_horses():
    """What the README states of the test horses."""
    task = Classification(Palette.load())
    train_set, valid_set = load_sets("horse", None, None, torch.device("cpu"), task)
    rows = baselines(train_set, valid_set, task.palette)
    assert rows["all-grey picture"]["colour"] == pytest.approx(22.74, abs=0.005)
    assert 22.74 < rows["mean colour per grey level"]["colour"] < rows["palette ceiling"]["colour"]
    assert rows["most frequent colour per grey level"]["acc"] == pytest.approx(0.615, abs=0.0005)


# Table


def test_table():
    row = {"psnr": 23.0103, "colour": 24.5, "colourfulness": 12.34, "true_colourfulness": 34.56}
    rows = {"grey": row, "UNet": {**row, "acc": 0.6}, "palette ceiling": {**row, "acc": 1.0}}
    assert table(rows) == (
        "                 accuracy      PSNR    colour  colourfulness\n"
        "grey                    -  23.01 dB  24.50 dB           12.3\n"
        "UNet                60.0%  23.01 dB  24.50 dB           12.3\n"
        "palette ceiling    100.0%  23.01 dB  24.50 dB           12.3\n"
        "true pictures           -         -         -           34.6")
    assert list(rows) == ["grey", "UNet", "palette ceiling"]
    assert table({"RegressionCNN": {**row, "psnr": math.inf}}) == (
        "                 PSNR    colour  colourfulness\n"
        "RegressionCNN  inf dB  24.50 dB           12.3\n"
        "true pictures       -         -           34.6")


def test_the_widest_table_fits_a_terminal():
    images, labels = pictures(3, seed=0)
    rows = baselines(PictureSet(images, labels), PictureSet(images, labels), PALETTE)
    assert max(map(len, table(rows).splitlines())) <= 90
