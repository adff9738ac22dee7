"""From what a network says of each pixel's colour to RGB."""

from typing import NamedTuple

import torch

from colour.palette import Palette

DECODERS = ("argmax", "mean", "annealed")
TEMPERATURE = 0.38  # Zhang, Isola and Efros 2016, "Colorful Image Colorization", section 2.3


def decode(logits: torch.Tensor, palette: Palette, how: str = "argmax",
           temperature: float = TEMPERATURE) -> torch.Tensor:
    """The colours of logits (N, K, H, W), as float32 RGB (N, 3, H, W) in [0, 1).

    ``how`` is "argmax", the most probable colour (the lower index on a tie); "mean", the expected
    colour under the softmax; or "annealed", the expected colour under softmax(logits / temperature)
    (Zhang et al. 2016, eq. 5): the mean at temperature 1, and the argmax as it goes to 0, where
    colours that tie are averaged. Raises ``ValueError`` for a temperature that is not above 0.
    """
    if how not in DECODERS:
        raise ValueError(f"unknown decoder {how!r}: choose one of {', '.join(DECODERS)}")
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, not {temperature}")
    if how == "argmax":
        return palette.rgb(most_probable(logits))
    logits = logits.float()
    if how == "annealed":
        # The largest becomes 0 before the division and stays 0, however small the temperature.
        temperature = max(temperature, torch.finfo(logits.dtype).tiny)
        logits = (logits - logits.amax(dim=1, keepdim=True)) / temperature
    centres = torch.from_numpy(palette.centres).to(logits.device)
    return torch.einsum("nkhw,kc->nchw", logits.softmax(dim=1), centres)


def most_probable(logits: torch.Tensor) -> torch.Tensor:
    """The label (N, H, W) of the largest of logits (N, K, H, W), the lower index on a tie."""
    return logits.max(dim=1).indices  # argmax gives the same, on the CPU at a third of the speed


def keep_grey(rgb: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Give each pixel of RGB (N, 3, H, W) the grey (N, 1, H, W) in [0, 1] as the mean of its channels.

    The colour is shifted to that grey. Where this leaves [0, 1], its chroma (the deviation from
    grey) shrinks just enough to fit: hue and grey both hold, which clipping would not do.
    """
    chroma = rgb - rgb.mean(dim=1, keepdim=True)
    tiny = torch.finfo(chroma.dtype).tiny  # where there is no chroma, nothing is divided by 0
    above = chroma.amax(dim=1, keepdim=True).clamp(min=tiny)
    below = chroma.amin(dim=1, keepdim=True).neg().clamp(min=tiny)
    scale = torch.minimum((1 - grey) / above, grey / below).clamp(max=1)
    return (grey + scale * chroma).clamp(0, 1)  # what is clipped here is rounding


class Colouring(NamedTuple):
    """How a network's output becomes the picture that is drawn and scored: the flags, in one place."""

    palette: Palette | None  # None: the output is RGB (regression)
    how: str = "argmax"
    temperature: float = TEMPERATURE
    keep_grey: bool = False

    def __call__(self, output: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
        """RGB (N, 3, H, W) in [0, 1] from an output (N, K or 3, H, W) and the grey input (N, 1, H, W)."""
        rgb = output.clamp(0, 1) if self.palette is None else decode(output, self.palette, self.how, self.temperature)
        return keep_grey(rgb, grey) if self.keep_grey else rgb
