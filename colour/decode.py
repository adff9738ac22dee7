"""Turn logits (N, K, H, W) into RGB (N, 3, H, W) in [0, 1).

A new way to decode is a function and a row in ``DECODERS``; its docstring is its help.
"""

import torch

from colour.palette import Palette
from colour.pixels import grey_of

TEMPERATURE = 0.38  # Zhang, Isola and Efros 2016, "Colorful Image Colorization", section 2.3
PHOTO_TEMPERATURE = 0.7  # of --image: more photographs are closer to the truth than at 0.38, skies bluer than at 1


def most_probable(logits: torch.Tensor) -> torch.Tensor:
    """Return the label (N, H, W) of the largest of logits (N, K, H, W), the lower index on a tie."""
    return logits.max(dim=1).indices  # argmax() gives the same, but is three times slower on the CPU


def argmax(logits: torch.Tensor, palette: Palette, temperature: float) -> torch.Tensor:
    """the most probable colour"""
    return palette.rgb(most_probable(logits))


def mean(logits: torch.Tensor, palette: Palette, temperature: float) -> torch.Tensor:
    """the expected colour"""
    centres = torch.from_numpy(palette.centres).to(logits.device)
    return torch.einsum("nkhw,kc->nchw", logits.float().softmax(dim=1), centres)


def annealed(logits: torch.Tensor, palette: Palette, temperature: float) -> torch.Tensor:
    """the expected colour at --temperature"""
    return mean(logits.float() / temperature, palette, temperature)  # Zhang et al. 2016, equation 5


DECODERS = {"argmax": argmax, "mean": mean, "annealed": annealed}


def keep_grey(rgb: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Shift each pixel of RGB (N, 3, H, W) to the grey (N, 1, H, W) in [0, 1] (see ``grey_of``).

    Where the shifted colour leaves [0, 1], its chroma (the deviation from grey) shrinks just enough to fit: this
    keeps both hue and grey, which clipping would not.
    """
    chroma = rgb - grey_of(rgb)
    tiny = torch.finfo(chroma.dtype).tiny  # avoids dividing by 0 where there is no chroma
    above = chroma.amax(dim=1, keepdim=True).clamp(min=tiny)
    below = chroma.amin(dim=1, keepdim=True).neg().clamp(min=tiny)
    scale = torch.minimum((1 - grey) / above, grey / below).clamp(max=1)
    return (grey + scale * chroma).clamp(0, 1)  # clips only rounding errors
