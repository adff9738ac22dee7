"""From logits to colours: the decoders, and the true grey put back."""

import numpy as np
import pytest
import torch

from colour.decode import TEMPERATURE, annealed, argmax, keep_grey, mean
from colour.palette import Palette

PALETTE = Palette(np.random.default_rng(0).random((9, 3)) * 255 / 256)


def random_logits(n: int) -> torch.Tensor:
    return torch.randn(n, 9, 8, 8, generator=torch.Generator().manual_seed(0))


def test_argmax_is_the_most_probable_colour_and_the_lower_one_on_a_tie():
    logits = random_logits(3)
    logits[0] = 0
    logits[1, 4] = logits[1, 7] = 10
    for layout in torch.contiguous_format, torch.channels_last:
        rgb = argmax(logits.contiguous(memory_format=layout), PALETTE, TEMPERATURE)
        assert rgb.shape == (3, 3, 8, 8) and rgb.dtype == torch.float32
        expected = PALETTE.centres[logits.numpy().argmax(axis=1)].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(rgb, expected)


def test_mean_is_the_expected_colour():
    logits = random_logits(2)
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    expected = sum(p[:, k, None] * PALETTE.centres[k][None, :, None, None] for k in range(len(PALETTE)))
    np.testing.assert_allclose(mean(logits, PALETTE, TEMPERATURE), expected, atol=1e-6)
    np.testing.assert_allclose(mean(logits.bfloat16(), PALETTE, TEMPERATURE), expected, atol=0.01)


def test_annealed_goes_from_the_mean_to_the_argmax():
    logits = random_logits(2)
    torch.testing.assert_close(annealed(logits, PALETTE, 1), mean(logits, PALETTE, 1))
    torch.testing.assert_close(annealed(logits, PALETTE, 0.38), mean(logits / 0.38, PALETTE, 1))
    torch.testing.assert_close(annealed(logits * 100, PALETTE, 1e-6), argmax(logits, PALETTE, 1))


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
