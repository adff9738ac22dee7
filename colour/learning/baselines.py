"""What needs no network: the simple answers that a network has to beat."""

from collections import defaultdict

import torch

from colour.learning.pictures import PictureSet
from colour.metrics import Scores
from colour.palette import Palette
from colour.pixels import grey_level, grey_of, to_rgb

BATCH = 250  # pictures that become floats at a time
LEVELS = 256  # of grey, and of a channel
ALL_GREY, MEAN_COLOUR = "all-grey picture", "mean colour per grey level"
MOST_FREQUENT, CEILING = "most frequent colour per grey level", "palette ceiling"


def baselines(train_set: PictureSet, valid_set: PictureSet, palette: Palette | None) -> dict[str, dict[str, float]]:
    """Score what needs no network on the validation pictures: the results of ``Scores`` by name.

    The baselines are the grey input itself, the mean training colour of each grey level, the most frequent label of
    each grey level, and the true labels: no choice of one colour a pixel is nearer to the truth (a mixture can be).
    Without a palette and labels, as in regression, only the first two apply.
    """
    scores = defaultdict(Scores)
    channels = train_set.images.unbind(dim=1)
    shades = torch.stack([_counts(train_set.images, channel, LEVELS) for channel in channels]).float()
    mean_colours = (shades @ to_rgb(torch.arange(LEVELS, device=shades.device)) / shades.sum(dim=2)).T
    if palette is not None:
        most_frequent = _counts(train_set.images, train_set.labels, len(palette)).argmax(dim=1)
    for start in range(0, len(valid_set), BATCH):
        batch = valid_set[start:start + BATCH]
        truth, level = to_rgb(batch.images), grey_level(batch.images)
        scores[ALL_GREY].add(grey_of(truth).expand_as(truth), truth)
        scores[MEAN_COLOUR].add(mean_colours[level].permute(0, 3, 1, 2), truth)
        if palette is not None:
            for name, guess in (MOST_FREQUENT, most_frequent[level]), (CEILING, batch.labels):
                scores[name].add(palette.rgb(guess), truth, guess, batch.labels)
    return {name: score.result() for name, score in scores.items()}


def _counts(images: torch.Tensor, values: torch.Tensor, n: int) -> torch.Tensor:
    """Count how often pixels of each grey level have each of ``n`` values (N, H, W): (256, n).

    A grey level without pixels takes the counts of the nearest level that has some, the lower on a tie.
    """
    counts = sum((grey_level(some) * n + value).flatten().bincount(minlength=LEVELS * n)
                 for some, value in zip(images.split(BATCH), values.split(BATCH), strict=True)).view(LEVELS, n)
    seen = counts.any(dim=1).nonzero().flatten()
    levels = torch.arange(LEVELS, device=images.device)
    return counts[seen[(levels[:, None] - seen).abs().argmin(dim=1)]]
