"""Flips and shifts, against numpy."""

import numpy as np
import pytest
import torch

from colour.learning.augment import MAX_SHIFT, NAMES, augmented
from tests.helpers import generator


@pytest.mark.parametrize("names", [("hflip",), ("vflip",), ("hshift",), ("vshift",), NAMES])
def test_augmentation_moves_pictures_as_numpy_would(names):
    images = torch.arange(200 * 2 * 16 * 12).view(200, 2, 16, 12)  # every value tells where it came from
    moved = augmented(images, names, generator())
    shifts_y = range(-MAX_SHIFT, MAX_SHIFT + 1) if "vshift" in names else [0]
    shifts_x = range(-MAX_SHIFT, MAX_SHIFT + 1) if "hshift" in names else [0]
    flips_y, flips_x = ([1, -1] if name in names else [1] for name in ("vflip", "hflip"))
    seen = set()
    for before, after in zip(images.numpy(), moved.numpy()):
        padded = np.pad(before, [(0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT)], mode="reflect")
        found = [(fy, fx, y, x) for fy in flips_y for fx in flips_x for y in shifts_y for x in shifts_x
                 if np.array_equal(padded[:, ::fy, ::fx][:, MAX_SHIFT + y:MAX_SHIFT + y + 16,
                                                         MAX_SHIFT + x:MAX_SHIFT + x + 12], after)]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) >= min(100, 0.9 * len(flips_y) * len(flips_x) * len(shifts_y) * len(shifts_x))


def test_moves_are_drawn_from_the_generator():
    images = torch.arange(200 * 2 * 16 * 12).view(200, 2, 16, 12)
    first, again, other = (augmented(images, NAMES, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
