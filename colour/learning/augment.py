"""Augmentation: flips and shifts that move a picture and its labels alike, a batch at a time."""

import torch

NAMES = ("hflip", "vflip", "hshift", "vshift")
MAX_SHIFT = 4  # pixels


def augmented(images: torch.Tensor, names: tuple[str, ...], generator: torch.Generator) -> torch.Tensor:
    """Return a copy in which each picture is flipped and shifted at random.

    ``images`` is (N, C, H, W) of any type; ``names`` are some of ``NAMES``. A flip happens to half of the pictures on
    average. A shift moves a picture by up to ``MAX_SHIFT`` pixels either way and fills the gap with its reflection.
    """
    n, _, height, width = images.shape
    device = images.device

    def positions(length, flip, shift):
        """Return which row (or column) of the source each row of the result takes, (N, length)."""
        position = torch.arange(length, device=device).expand(n, length)
        if flip in names:
            flipped = torch.rand(n, 1, generator=generator, device=device) < 0.5
            position = torch.where(flipped, length - 1 - position, position)
        if shift in names:
            offset = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (n, 1), generator=generator, device=device)
            position = (position + offset).abs()
            position = torch.minimum(position, 2 * (length - 1) - position)
        return position

    rows = positions(height, "vflip", "vshift")
    columns = positions(width, "hflip", "hshift")
    picture = torch.arange(n, device=device)
    return images.permute(0, 2, 3, 1)[picture[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
