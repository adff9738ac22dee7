"""Bytes to numbers: the two facts of the assignment that weights trained elsewhere depend on."""

import torch


def to_rgb(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 pictures of any shape as float32 in [0, 1): ``x / 256``, not 255."""
    return images.float() / 256


def grey_of(rgb: torch.Tensor) -> torch.Tensor:
    """Return the grey input (N, 1, H, W) of RGB (N, 3, H, W): the mean of the channels."""
    return rgb.mean(dim=1)[..., None].permute(0, 3, 1, 2)  # strides of channels last, which torch.cat would copy to
