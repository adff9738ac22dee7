"""Score coloured pictures: figures over a whole set, and the simple baselines to compare them with."""

import math
from collections import defaultdict

import torch

from colour.decode import keep_grey
from colour.palette import Palette
from colour.pixels import grey_of, to_rgb
from colour.system import torchrun

BATCH = 250  # pictures that the baselines turn into floats at a time
LEVELS = 256  # of grey, and of a channel
ALL_GREY, CEILING = "all-grey picture", "palette ceiling"
COLUMNS = {  # of the table: the figure, and how to write it
    "accuracy": ("acc", "{:.1%}"),
    "PSNR": ("psnr", "{:.2f} dB"),
    "colour": ("colour", "{:.2f} dB"),
    "colourfulness": ("colourfulness", "{:.1f}"),
}


class Scores:
    """Add up scores batch by batch, and divide once by what was seen."""

    def __init__(self):
        self.pictures = self.values = self.labelled = self.hits = 0
        self.sums = torch.zeros(4, dtype=torch.float64)  # two squared errors, two colourfulnesses

    @torch.no_grad()
    def add(self, prediction: torch.Tensor, truth: torch.Tensor, guess: torch.Tensor | None = None,
            labels: torch.Tensor | None = None) -> None:
        """Count a batch of pictures: predicted and true RGB (N, 3, H, W) in units of 256.

        Where pixels are classified, ``guess`` (N, H, W) holds their predicted labels and ``labels`` the true ones.
        Raises ``ValueError`` if the shapes of prediction and truth differ.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"a prediction of shape {tuple(prediction.shape)} for {tuple(truth.shape)}")
        kept = keep_grey(prediction, grey_of(truth))
        errors = [(picture - truth).square().sum(dim=(1, 2, 3)) for picture in (prediction, kept)]
        each = torch.stack([*errors, colourfulness(prediction), colourfulness(truth)])
        self.sums += each.cpu().double().sum(dim=1)
        self.pictures += len(truth)
        self.values += truth.numel()
        if guess is not None:
            self.hits += int((guess == labels).sum())
            self.labelled += labels.numel()

    def result(self) -> dict[str, float]:
        """Return the figures of everything that was added (at least one picture), in all processes.

        - ``acc`` in [0, 1], where pixels were classified: the share of pixels with the right label.
        - ``psnr``: of the pictures as they are, in dB. It mixes brightness and colour.
        - ``colour``: the PSNR of the pictures after ``keep_grey``. The input tells how bright a pixel is; this
          measures the rest.
        - ``colourfulness``, ``true_colourfulness``: means over pictures.

        PSNR is -10 log10 of the mean squared error over all pixels and channels: the peak is 1, that is 256 / 256.
        It is infinite where there is no error.
        """
        error, colour_error, predicted, true, pictures, values, hits, labelled = torchrun.total(
            [*self.sums, self.pictures, self.values, self.hits, self.labelled])
        return {**({"acc": hits / labelled} if labelled else {}),
                "psnr": _psnr(error / values), "colour": _psnr(colour_error / values),
                "colourfulness": predicted / pictures, "true_colourfulness": true / pictures}


def _psnr(mse: float) -> float:
    return -10 * math.log10(mse) if mse else math.inf


def colourfulness(rgb: torch.Tensor) -> torch.Tensor:
    """Return the colourfulness (N,) of RGB (N, 3, H, W) in units of 256, on the scale of bytes; grey has 0.

    Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images": the metric in opponent colours.
    """
    red, green, blue = (256 * rgb).flatten(2).unbind(dim=1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])  # (2, N, H * W)
    spread = opponents.var(dim=2, correction=0).sum(dim=0).sqrt()
    return spread + 0.3 * opponents.mean(dim=2).square().sum(dim=0).sqrt()


def baselines(train_images: torch.Tensor, train_labels: torch.Tensor | None, valid_images: torch.Tensor,
              valid_labels: torch.Tensor | None, palette: Palette | None) -> dict[str, dict[str, float]]:
    """Score what needs no network on the validation pictures: the results of ``Scores`` by name.

    The baselines are the grey input itself, the mean training colour of each grey level, the most frequent label of
    each grey level, and the true labels: no choice of one colour a pixel is nearer to the truth (a mixture can be).
    Images are uint8 (N, 3, H, W), labels uint8 (N, H, W). Without labels (``None``), as in regression, only the first
    two apply.
    """
    scores = defaultdict(Scores)
    shades = torch.stack([_counts(train_images, channel, LEVELS) for channel in train_images.unbind(dim=1)]).float()
    mean_colours = (shades @ to_rgb(torch.arange(LEVELS, device=shades.device)) / shades.sum(dim=2)).T
    if train_labels is not None:
        most_frequent = _counts(train_images, train_labels, len(palette)).argmax(dim=1)
    for start in range(0, len(valid_images), BATCH):
        images = valid_images[start:start + BATCH]
        truth, level = to_rgb(images), _grey_level(images)
        scores[ALL_GREY].add(grey_of(truth).expand_as(truth), truth)
        scores["mean colour per grey level"].add(mean_colours[level].permute(0, 3, 1, 2), truth)
        if train_labels is not None:
            labels = valid_labels[start:start + BATCH]
            for name, guess in ("most frequent colour per grey level", most_frequent[level]), (CEILING, labels):
                scores[name].add(palette.rgb(guess), truth, guess, labels)
    return {name: score.result() for name, score in scores.items()}


def _grey_level(images: torch.Tensor) -> torch.Tensor:
    """Return the grey level 0-255 of each pixel of uint8 (N, 3, H, W): the mean of its channels, rounded down."""
    return images.sum(dim=1) // 3  # torch sums bytes as int64


def _counts(images: torch.Tensor, values: torch.Tensor, n: int) -> torch.Tensor:
    """Count how often pixels of each grey level have each of ``n`` values (N, H, W): (256, n).

    A grey level without pixels takes the counts of the nearest level that has some, the lower on a tie.
    """
    counts = sum((_grey_level(some) * n + value).flatten().bincount(minlength=LEVELS * n)
                 for some, value in zip(images.split(BATCH), values.split(BATCH), strict=True)).view(LEVELS, n)
    seen = counts.any(dim=1).nonzero().flatten()
    levels = torch.arange(LEVELS, device=images.device)
    return counts[seen[(levels[:, None] - seen).abs().argmin(dim=1)]]


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return ``Scores`` results by name as aligned text, one row each, the ceiling last.

    A dash stands where a figure does not apply; a column that applies to no row is left out. The last line is
    the truth, for its colourfulness.
    """
    rows = dict(sorted(rows.items(), key=lambda row: row[0] == CEILING))
    rows["true pictures"] = {"colourfulness": next(iter(rows.values()))["true_colourfulness"]}
    width = max(map(len, rows))
    columns = [[name.ljust(width) for name in ("", *rows)]]
    for head, (key, form) in COLUMNS.items():
        if any(key in row for row in rows.values()):
            cells = [head, *(form.format(row[key]) if key in row else "-" for row in rows.values())]
            columns.append([cell.rjust(max(map(len, cells))) for cell in cells])
    return "\n".join("  ".join(line) for line in zip(*columns, strict=True))
