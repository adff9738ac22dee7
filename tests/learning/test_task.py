"""What a task asks of a network: labels, loss, colours, and weights that fit it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from colour.decode import DECODERS, annealed, keep_grey
from colour.learning.task import Classification, Decoding, Regression
from colour.palette import Palette
from colour.system.cli import UserError
from tests.helpers import one_line

PALETTE = Palette(np.array([[0, 0, 0], [0.25, 0.5, 0.75], [0.75, 0.75, 0]]), Path("three.npy"))


def test_losses_are_those_of_the_library():
    output, labels, rgb = torch.randn(3, 24, 8, 8), torch.randint(24, (3, 8, 8)), torch.rand(3, 3, 8, 8)
    loss = Classification(Palette.load()).loss(output, rgb, labels)
    assert torch.isclose(loss, F.cross_entropy(output, labels))
    assert torch.isclose(Regression().loss(output[:, :3], rgb, None), ((output[:, :3] - rgb) ** 2).mean())


def test_label_smoothing_spreads_a_share_of_the_target_over_all_colours():
    output, labels = torch.randn(3, 5, 8, 8), torch.randint(5, (3, 8, 8))
    target = 0.8 * F.one_hot(labels, 5).permute(0, 3, 1, 2) + 0.2 / 5
    expected = -(target * output.log_softmax(dim=1)).sum(dim=1).mean()
    assert torch.isclose(Classification(PALETTE).loss(output, None, labels, 0.2), expected)


def test_losses_are_computed_in_float32():
    output, labels, rgb = torch.randn(3, 24, 8, 8).bfloat16(), torch.randint(24, (3, 8, 8)), torch.rand(3, 3, 8, 8)
    for task, out in (Classification(Palette.load()), output), (Regression(), output[:, :3]):
        assert task.loss(out, rgb, labels).dtype == torch.float32
        assert torch.equal(task.loss(out, rgb, labels), task.loss(out.float(), rgb, labels))


def test_labels_are_the_palettes():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)
    labels = Classification(PALETTE).labels(images)
    assert labels.dtype == torch.uint8 and np.array_equal(labels, PALETTE.labels(images))
    assert Regression().labels(images) is None


def test_the_guess_is_the_largest_output():
    output = torch.tensor([1.0, 3, 2]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert torch.equal(Classification(PALETTE).guess(output), torch.ones(2, 4, 4, dtype=torch.int64))
    assert Regression().guess(output) is None


@pytest.mark.parametrize("decoder", DECODERS)
def test_colours_are_decoded_as_asked(decoder):
    output, grey = torch.randn(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    rgb = DECODERS[decoder](output, PALETTE, 0.5)
    assert torch.equal(Classification(PALETTE, Decoding(decoder, 0.5)).colours(output, grey), rgb)
    kept = Classification(PALETTE, Decoding(decoder, 0.5, True)).colours(output, grey)
    assert torch.equal(kept, keep_grey(rgb, grey)) and not torch.equal(kept, rgb)


def test_colours_of_regression_stay_in_range():
    output, grey = torch.linspace(-1, 2, 96).view(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    rgb = Regression().colours(output, grey)
    assert torch.equal(rgb, output.clamp(0, 1)) and rgb.min() == 0 and rgb.max() == 1
    assert torch.equal(Regression(Decoding(keep_grey=True)).colours(output, grey), keep_grey(rgb, grey))


def test_a_photograph_has_mixed_colours_and_the_grey_of_the_input():
    output, grey = torch.randn(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    task = Classification(PALETTE, Decoding("argmax", 0.5))
    expected = keep_grey(annealed(output, PALETTE, 0.5), grey)
    assert torch.equal(task.photograph().colours(output, grey), expected)
    assert torch.equal(Regression().photograph().colours(output, grey), keep_grey(output.clamp(0, 1), grey))


def test_summary_lines():
    assert Classification(PALETTE).summary({"loss": 1.23456, "acc": 0.4567}) == "Val Loss: 1.2346, Val Acc: 45.7%"
    assert Regression().summary({"loss": 0.00623456}) == "Val Loss (mean squared error): 0.006235"


def test_weights_for_another_task_are_refused():
    task = Classification(PALETTE)
    task.check("net.pkl", {}, 3)
    task.check("net.pkl", {"palette_sha256": PALETTE.sha256()}, 3)
    Regression().check("net.pkl", {}, 3)
    for one, sidecar, outputs, said in [
            (task, {}, 24, "--colours"), (Classification(Palette.load()), {}, 16, "--colours"),
            (Classification(Palette.load()), {}, 3, "colour_regression.py"), (Regression(), {}, 24, "colourization.py"),
            (task, {"palette_sha256": "0" * 64, "palette": "mine.npy"}, 3, "--colours mine.npy")]:
        with pytest.raises(UserError) as error:
            one.check("net.pkl", sidecar, outputs)
        assert said in one_line(error) and "net.pkl" in one_line(error)
