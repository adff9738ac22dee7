"""Bytes to numbers."""

import numpy as np
import torch

from colour.pixels import grey_of, to_rgb


def test_pixels_are_bytes_over_256():
    every_byte = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    rgb = to_rgb(every_byte)
    assert rgb.dtype == torch.float32 and rgb.shape == every_byte.shape
    assert rgb.flatten().tolist() == [byte / 256 for byte in range(256)]


def test_grey_is_the_mean_of_bytes_over_256(few_horses):
    by_hand = few_horses.images.numpy().astype(np.float64).mean(axis=1, keepdims=True) / 256
    grey = grey_of(to_rgb(few_horses.images))
    assert grey.shape == (150, 1, 32, 32) and grey.dtype == torch.float32
    assert np.allclose(grey.numpy(), by_hand, atol=1e-6)
    assert to_rgb(few_horses.images).max() <= 255 / 256


def test_networks_keep_the_layout_of_the_grey():
    """It makes them fast, whatever the layout of their parameters."""
    grey = grey_of(torch.zeros(2, 3, 8, 8))
    joined = torch.cat([torch.nn.Conv2d(1, 24, 3, padding=1)(grey), grey], dim=1)
    assert joined.is_contiguous(memory_format=torch.channels_last)
