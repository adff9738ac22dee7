"""Turn logits into colours. A new way to decode is a function and a row in ``DECODERS``; its docstring is its help."""

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
    logits = logits.float()
    # Subtract the largest first: it stays 0 when divided, however small the temperature.
    temperature = max(temperature, torch.finfo(logits.dtype).tiny)
    return mean((logits - logits.amax(dim=1, keepdim=True)) / temperature, palette, temperature)


DECODERS = {"argmax": argmax, "mean": mean, "annealed": annealed}


def decode(logits: torch.Tensor, palette: Palette, how: str = "argmax",
           temperature: float = TEMPERATURE) -> torch.Tensor:
    """Return the colours of logits (N, K, H, W) as float32 RGB (N, 3, H, W) in [0, 1).

    ``how`` is a key of ``DECODERS``: "argmax", the most probable colour (the lower index on a tie); "mean", the
    expected colour under the softmax; "annealed", the expected colour under softmax(logits / temperature)
    (Zhang et al. 2016, eq. 5). The temperature 1 gives the mean; towards 0 it gives the argmax, but averages
    colours that tie. Raises ``ValueError`` for an unknown decoder and for a temperature that is not above 0.
    """
    if how not in DECODERS:
        raise ValueError(f"unknown decoder {how!r}: choose one of {', '.join(DECODERS)}")
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, not {temperature}")
    return DECODERS[how](logits, palette, temperature)


def keep_grey(rgb: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Shift each pixel of RGB (N, 3, H, W) so that the mean of its channels is the grey (N, 1, H, W) in [0, 1].

    Where the shifted colour leaves [0, 1], its chroma (the deviation from grey) shrinks just enough to fit: this
    keeps both hue and grey, which clipping would not.
    """
    chroma = rgb - grey_of(rgb)
    tiny = torch.finfo(chroma.dtype).tiny  # avoids dividing by 0 where there is no chroma
    above = chroma.amax(dim=1, keepdim=True).clamp(min=tiny)
    below = chroma.amin(dim=1, keepdim=True).neg().clamp(min=tiny)
    scale = torch.minimum((1 - grey) / above, grey / below).clamp(max=1)
    return (grey + scale * chroma).clamp(0, 1)  # clips only rounding errors
