"""Bytes to numbers: the two facts of the assignment that weights trained elsewhere depend on."""

import numpy as np
import torch

Pixels = torch.Tensor | np.ndarray


def to_rgb(images: Pixels) -> Pixels:
    """Return bytes, a tensor or an array of any shape, as float32 in [0, 1): ``x / 256``, not 255."""
    return (images.float() if torch.is_tensor(images) else images.astype(np.float32)) / 256


def grey_of(rgb: torch.Tensor) -> torch.Tensor:
    """Return the grey input (N, 1, H, W) of RGB (N, 3, H, W): the mean of the channels."""
    return rgb.mean(dim=1)[..., None].permute(0, 3, 1, 2)  # channels last: the fast layout, which all layers keep


def bytes_with_grey(rgb: torch.Tensor, like: np.ndarray) -> np.ndarray:
    """Round RGB (3, H, W) from 0 to 255 to bytes (H, W, 3) with exactly the grey of those in ``like``."""
    total = like.sum(axis=-1, dtype=np.int64)
    # Round red and blue; green is the rest of the sum. Where that leaves a byte, red takes the difference.
    red, blue = rgb[::2].round().long().numpy()
    green = (total - red - blue).clip(0, 255)
    return np.stack([total - green - blue, green, blue], axis=-1)


def grey_level(images: torch.Tensor) -> torch.Tensor:
    """Return the grey (N, H, W) of bytes (N, 3, H, W) as a whole number from 0 to 255, rounded down."""
    return images.sum(dim=1) // 3  # torch sums bytes as int64
