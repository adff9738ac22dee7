"""Metrics, baselines and decoders, against values worked out by hand and against other formulas."""

import math

import numpy as np
import pytest
import torch

from colour.decode import DECODERS, decode, keep_grey
from colour.metrics import Scores, baselines, colourfulness, table
from colour.palette import Palette
from colourization import load_sets

PALETTE = Palette(np.random.default_rng(0).random((9, 3)) * 255 / 256)


def random_batch(n: int) -> dict[str, torch.Tensor]:
    """Return what ``Scores.add`` takes: pictures and the truth."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(n, 3, 8, 8, generator=generator) for name in ("prediction", "truth")}


def random_logits(n: int) -> torch.Tensor:
    return torch.randn(n, 9, 8, 8, generator=torch.Generator().manual_seed(0))


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


# Decoding


def test_argmax_is_the_most_probable_colour_and_the_lower_one_on_a_tie():
    logits = random_logits(3)
    logits[0] = 0
    logits[1, 4] = logits[1, 7] = 10
    for layout in torch.contiguous_format, torch.channels_last:
        rgb = decode(logits.contiguous(memory_format=layout), PALETTE)
        assert rgb.shape == (3, 3, 8, 8) and rgb.dtype == torch.float32
        expected = PALETTE.centres[logits.numpy().argmax(axis=1)].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(rgb, expected)


def test_mean_is_the_expected_colour():
    logits = random_logits(2)
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    expected = sum(p[:, k, None] * PALETTE.centres[k][None, :, None, None] for k in range(len(PALETTE)))
    np.testing.assert_allclose(decode(logits, PALETTE, "mean"), expected, atol=1e-6)
    np.testing.assert_allclose(decode(logits.bfloat16(), PALETTE, "mean"), expected, atol=0.01)


def test_annealed_goes_from_the_mean_to_the_argmax():
    logits = random_logits(2)
    mean, argmax = decode(logits, PALETTE, "mean"), decode(logits, PALETTE, "argmax")
    torch.testing.assert_close(decode(logits, PALETTE, "annealed", 1), mean)
    torch.testing.assert_close(decode(logits, PALETTE, "annealed"), decode(logits / 0.38, PALETTE, "mean"))
    for temperature in (1e-7, 1e-30, 1e-45, 1e-300):
        torch.testing.assert_close(decode(logits * 100, PALETTE, "annealed", temperature), argmax)


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        decode(random_logits(1), PALETTE, "annealed", temperature)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match=", ".join(DECODERS)):
        decode(random_logits(1), PALETTE, "median")


@pytest.mark.parametrize("spread", [0, 0.3, 1, 10])  # beyond 1: what a regression may answer
def test_keep_grey_keeps_the_grey_within_the_range(spread):
    generator = torch.Generator().manual_seed(1)
    rgb = 0.5 + spread * (torch.rand(50, 3, 32, 32, generator=generator) - 0.5)
    rgb[0] = torch.tensor([1.0, 0, 0])[:, None, None]
    rgb[1] = torch.tensor([0, 1.0, 1.0])[:, None, None]
    rgb[2] = torch.tensor([0.0, 0, 0])[:, None, None]
    grey = torch.rand(50, 1, 32, 32, generator=generator)
    grey[:, :, 0] = 0
    grey[:, :, 1] = 255 / 256
    grey[:, :, 2] = 1
    result = keep_grey(rgb, grey)
    assert result.min() >= 0 and result.max() <= 1
    torch.testing.assert_close(result.double().mean(dim=1, keepdim=True), grey.double(), atol=1e-6, rtol=0)


def test_keep_grey_shifts_what_fits_and_shrinks_the_chroma_of_what_does_not():
    rgb = torch.tensor([[0.2, 0.3, 0.4], [0.4, 0.5, 0.9], [0.4, 0.5, 0.9]]).view(3, 3, 1, 1)
    grey = torch.tensor([0.5, 0.9, 0.1]).view(3, 1, 1, 1)
    expected = torch.tensor([
        [0.4, 0.5, 0.6],  # shifted by 0.2
        [0.9 - 0.2 / 3, 0.9 - 0.1 / 3, 1],  # the chroma (-0.2, -0.1, 0.3) by 1/3, blue at 1
        [0, 0.05, 0.25],  # by 1/2, red at 0
    ]).view(3, 3, 1, 1)
    torch.testing.assert_close(keep_grey(rgb, grey), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(keep_grey(rgb, rgb.mean(dim=1, keepdim=True)), rgb)


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
    assert darker["psnr"] == pytest.approx(-20 * math.log10(0.3), abs=1e-4) and darker["colour"] > 120
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


def test_no_error_is_infinitely_good_and_nan_is_not():
    truth = random_batch(1)["truth"]
    assert scored(prediction=truth, truth=truth)["psnr"] == math.inf
    black = torch.zeros(1, 3, 2, 2)
    assert scored(prediction=black, truth=black)["colour"] == math.inf
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
    rows = baselines(images, labels, valid_images, valid_labels, PALETTE)

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
    assert baselines(images, None, valid_images, None, None) == {
        "all-grey picture": grey, "mean colour per grey level": by_level}


def test_baselines_of_the_horses():
    """What the README states of the test horses."""
    train_set, valid_set = load_sets("horse", None, None, torch.device("cpu"), Palette.load())
    rows = baselines(*train_set, *valid_set, Palette.load())
    assert rows["all-grey picture"]["colour"] == pytest.approx(22.74, abs=0.005)
    assert 22.74 < rows["mean colour per grey level"]["colour"] < rows["palette ceiling"]["colour"]
    assert rows["most frequent colour per grey level"]["acc"] == pytest.approx(0.615, abs=0.0005)


# Table


def test_table():
    row = {"psnr": 23.0103, "colour": 24.5, "colourfulness": 12.34, "true_colourfulness": 34.56}
    rows = {"grey": row, "palette ceiling": {**row, "acc": 1.0}, "UNet": {**row, "acc": 0.6}}
    assert table(rows) == (
        "                 accuracy      PSNR    colour  colourfulness\n"
        "grey                    -  23.01 dB  24.50 dB           12.3\n"
        "UNet                60.0%  23.01 dB  24.50 dB           12.3\n"
        "palette ceiling    100.0%  23.01 dB  24.50 dB           12.3\n"
        "true pictures           -         -         -           34.6")
    assert list(rows) == ["grey", "palette ceiling", "UNet"]
    assert table({"RegressionCNN": {**row, "psnr": math.inf}}) == (
        "                 PSNR    colour  colourfulness\n"
        "RegressionCNN  inf dB  24.50 dB           12.3\n"
        "true pictures       -         -           34.6")


def test_the_widest_table_fits_a_terminal():
    images, labels = pictures(3, seed=0)
    rows = baselines(images, labels, images, labels, PALETTE)
    assert max(map(len, table(rows).splitlines())) <= 90
