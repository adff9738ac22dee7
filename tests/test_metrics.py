"""Metrics, baselines and decoders, against values worked out by hand and against other formulas."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from colour.decode import DECODERS, decode, keep_grey
from colour.metrics import Scores, baselines, colourfulness, table
from colour.palette import Palette

PALETTE = Palette(np.random.default_rng(0).random((9, 3)) * 255 / 256)


def random_batch(n: int, colours: int = 9, size: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    """The arguments of ``Scores.add``; not every colour occurs in the truth."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "prediction": torch.rand(n, 3, size, size, generator=generator),
        "truth": torch.rand(n, 3, size, size, generator=generator),
        "logits": torch.randn(n, colours, size, size, generator=generator),
        "labels": torch.randint(0, colours - 2, (n, size, size), generator=generator),
    }


def scored(**batch) -> dict[str, float]:
    scores = Scores()
    scores.add(**batch)
    return scores.result()


def pictures(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images, grey levels 40-99 and some 200 only, and their labels."""
    rng = np.random.default_rng(seed)
    images = (rng.integers(40, 100, (n, 1, 4, 4)) + rng.integers(-9, 10, (n, 3, 4, 4))).astype(np.uint8)
    images[0, :, 0, 0] = 200
    return torch.from_numpy(images), torch.from_numpy(PALETTE.labels(images))


# Decoding


def test_argmax_is_the_most_probable_colour_and_the_lower_one_on_a_tie():
    logits = random_batch(3)["logits"]
    logits[0] = 0
    logits[1, 4] = logits[1, 7] = 10
    for layout in torch.contiguous_format, torch.channels_last:
        rgb = decode(logits.contiguous(memory_format=layout), PALETTE)
        assert rgb.shape == (3, 3, 8, 8) and rgb.dtype == torch.float32
        expected = PALETTE.centres[logits.numpy().argmax(axis=1)].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(rgb, expected)


def test_mean_is_the_expected_colour():
    logits = random_batch(2)["logits"]
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    expected = sum(p[:, k, None] * PALETTE.centres[k][None, :, None, None] for k in range(len(PALETTE)))
    np.testing.assert_allclose(decode(logits, PALETTE, "mean"), expected, atol=1e-6)
    np.testing.assert_allclose(decode(logits.bfloat16(), PALETTE, "mean"), expected, atol=0.01)


def test_annealed_goes_from_the_mean_to_the_argmax():
    logits = random_batch(2)["logits"]
    mean, argmax = decode(logits, PALETTE, "mean"), decode(logits, PALETTE, "argmax")
    torch.testing.assert_close(decode(logits, PALETTE, "annealed", 1), mean)
    torch.testing.assert_close(decode(logits, PALETTE, "annealed"), decode(logits / 0.38, PALETTE, "mean"))
    for temperature in (1e-7, 1e-30, 1e-45, 1e-300):
        torch.testing.assert_close(decode(logits * 100, PALETTE, "annealed", temperature), argmax)


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        decode(random_batch(1)["logits"], PALETTE, "annealed", temperature)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match=", ".join(DECODERS)):
        decode(random_batch(1)["logits"], PALETTE, "median")


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
    """Four pixels: a red one, and three of label 1 of which one is found and one is third."""
    truth = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).T.reshape(1, 3, 2, 2) / 2
    logits = torch.zeros(1, 8, 2, 2)
    logits[0, :, 0, 0] = torch.tensor([9, 1, 2, 3, 4, 5, 6, 7])
    logits[0, :, 0, 1] = torch.tensor([1, 9, 2, 3, 4, 5, 6, 7])
    logits[0, :, 1, 0] = torch.tensor([1, 5, 2, 3, 4, 5.5, 6, 0])
    logits[0, :, 1, 1] = torch.tensor([7, 1, 2, 3, 4, 5, 6, 0])
    figures = scored(prediction=torch.zeros(1, 3, 2, 2), truth=truth, logits=logits,
                     labels=torch.tensor([[[0, 1], [1, 1]]]))
    assert figures["acc"] == 2 / 4
    assert figures["top5"] == 3 / 4
    assert figures["balanced_acc"] == pytest.approx((1 + 1 / 3) / 2)
    assert figures["mse"] == 0.25 / 12
    assert figures["psnr"] == pytest.approx(10 * math.log10(48))
    assert figures["colourfulness"] == 0
    # Red minus green is 128, 0, 0, 0: mean 32, variance 3072. Yellow minus blue is half of it.
    assert figures["true_colourfulness"] == pytest.approx(math.sqrt(3072 * 1.25) + 0.3 * math.sqrt(32**2 * 1.25))


def test_scores_against_other_formulas():
    batch = random_batch(6)
    figures = scored(**batch)
    labels = batch["labels"].flatten().numpy()
    logits = batch["logits"].permute(0, 2, 3, 1).reshape(-1, 9).numpy()
    assert figures["acc"] == np.mean(logits.argmax(axis=1) == labels)
    assert figures["top5"] == top_k_accuracy_score(labels, logits, k=5, labels=range(9))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some colours are predicted that never occur
        expected = balanced_accuracy_score(labels, logits.argmax(axis=1))
    assert figures["balanced_acc"] == pytest.approx(expected)
    error = batch["prediction"].double().numpy() - batch["truth"].double().numpy()
    assert figures["mse"] == pytest.approx(np.mean(error**2))
    assert figures["psnr"] == pytest.approx(10 * np.log10(error.size / np.sum(error**2)))
    for key, images in (("colourfulness", batch["prediction"]), ("true_colourfulness", batch["truth"])):
        each = []
        for r, g, b in 256 * images.double().numpy():
            rg, yb = r - g, 0.5 * (r + g) - b
            each.append(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))
        assert figures[key] == pytest.approx(np.mean(each))
        np.testing.assert_allclose(colourfulness(images), each, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_batches_do_not_matter(size):
    batch = random_batch(7)
    scores = Scores()
    for start in range(0, 7, size):
        scores.add(**{name: value[start:start + size] for name, value in batch.items()})
    assert scores.result() == pytest.approx(scored(**batch), rel=1e-6)


def test_few_colours_are_all_among_the_top_five():
    assert scored(**random_batch(2, colours=4))["top5"] == 1


def test_256_colours():
    batch = random_batch(3, colours=256)
    labels = batch["labels"].flatten().numpy()
    logits = batch["logits"].permute(0, 2, 3, 1).reshape(-1, 256).numpy()
    assert scored(**batch)["top5"] == top_k_accuracy_score(labels, logits, k=5, labels=range(256))


def test_labels_alone_or_nothing_but_pictures():
    batch = random_batch(2)
    guess = batch["logits"].argmax(dim=1)
    complete = scored(**batch)
    del batch["logits"]
    del complete["top5"]
    assert scored(**batch | {"labels": batch["labels"].to(torch.uint8)}, guess=guess) == complete
    del batch["labels"]
    assert scored(**batch) == {key: value for key, value in complete.items() if "acc" not in key}


def test_no_error_is_infinitely_good_and_nan_is_not():
    batch = random_batch(1)
    batch["prediction"] = batch["truth"]
    batch["logits"][:] = math.nan
    figures = scored(**batch)
    assert figures["mse"] == 0 and figures["psnr"] == math.inf
    assert figures["top5"] == 0


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

    counts = np.zeros((256, 9), int)
    for picture, answer in zip(images.tolist(), labels.tolist(), strict=True):
        for y in range(4):
            for x in range(4):
                counts[sum(channel[y][x] for channel in picture) // 3, answer[y][x]] += 1
    seen = [level for level in range(256) if counts[level].any()]

    def commonest(grey):
        return counts[min(seen, key=lambda level: (abs(level - grey), level))].argmax()

    levels = (valid_images.double().mean(dim=1) + 1e-9).floor().long()  # thirds may fall short of a whole number
    guesses = {
        "majority colour": torch.full_like(valid_labels, counts.sum(axis=0).argmax()),
        "most frequent colour per grey level": levels.clone().apply_(commonest).to(torch.uint8),
        "palette ceiling": valid_labels,
    }
    assert list(rows) == ["all-grey picture", *guesses]
    truth = valid_images.float() / 256
    for name, guess in guesses.items():
        colours = torch.from_numpy(PALETTE.centres[guess.numpy()]).permute(0, 3, 1, 2)
        assert rows[name] == pytest.approx(scored(prediction=colours, truth=truth, labels=valid_labels, guess=guess))
        assert rows[name]["acc"] == (guess == valid_labels).double().mean()
    assert rows["majority colour"]["balanced_acc"] == 1 / len(valid_labels.unique())
    assert rows["palette ceiling"]["acc"] == rows["palette ceiling"]["balanced_acc"] == 1

    grey = rows["all-grey picture"]
    assert grey["mse"] == pytest.approx(truth.double().var(dim=1, correction=0).mean().item())
    assert grey["colourfulness"] == 0 and "acc" not in grey
    assert baselines(images, None, valid_images, None, None) == {"all-grey picture": grey}


# Table


def test_table():
    row = {"mse": 0.005, "psnr": 23.0103, "colourfulness": 12.34, "true_colourfulness": 34.56}
    rows = {"grey": row, "palette ceiling": {**row, "acc": 1.0, "balanced_acc": 1.0},
            "UNet": {**row, "acc": 0.6, "top5": 0.987, "balanced_acc": 0.55}}
    assert table(rows) == (
        "                 accuracy  top-5  balanced      PSNR  colourfulness\n"
        "grey                    -      -         -  23.01 dB           12.3\n"
        "UNet                60.0%  98.7%     55.0%  23.01 dB           12.3\n"
        "palette ceiling    100.0%      -    100.0%  23.01 dB           12.3\n"
        "true pictures           -      -         -         -           34.6")
    assert list(rows) == ["grey", "palette ceiling", "UNet"]
    assert table({"RegressionCNN": {**row, "psnr": math.inf}}) == (
        "                 PSNR  colourfulness\n"
        "RegressionCNN  inf dB           12.3\n"
        "true pictures       -           34.6")


def test_the_widest_table_fits_a_terminal():
    images, labels = pictures(3, seed=0)
    rows = baselines(images, labels, images, labels, PALETTE) | {"model": scored(**random_batch(1))}
    assert max(map(len, table(rows).splitlines())) <= 90
