"""Score coloured pictures: figures over a whole set, and the table that shows them."""

import math
from collections import Counter

import torch

from colour.decode import keep_grey
from colour.pixels import grey_of
from colour.system import torchrun

COLUMNS = {  # of the table: the figure, and how to write it
    "accuracy": ("acc", "{:.1%}"),
    "PSNR": ("psnr", "{:.2f} dB"),
    "colour": ("colour", "{:.2f} dB"),
    "colourfulness": ("colourfulness", "{:.1f}"),
}


class Scores:
    """Add up scores batch by batch, and divide once by what was seen."""

    def __init__(self):
        self.sums = Counter()

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
        each = {"error": (prediction - truth).square().sum(dim=(1, 2, 3)),
                "colour_error": (kept - truth).square().sum(dim=(1, 2, 3)),
                "colourfulness": colourfulness(prediction), "true_colourfulness": colourfulness(truth)}
        self.sums.update({name: values.cpu().double().sum().item() for name, values in each.items()})
        self.sums.update(pictures=len(truth), values=truth.numel())
        if guess is not None:
            self.sums.update(hits=int((guess == labels).sum()), labelled=labels.numel())

    def result(self) -> dict[str, float]:
        """Return the figures of everything that was added (at least one picture), in all processes.

        ``acc`` in [0, 1] is the share of right labels, where pixels were classified. ``psnr`` is that of the pictures
        as they are, ``colour`` that after ``keep_grey``: the input tells how bright a pixel is, this measures the rest.
        Both are in dB, -10 log10 of the mean squared error over all pixels and channels, and at most 100, because JSON
        has no infinity. ``colourfulness`` and ``true_colourfulness`` are means over pictures.
        """
        sums = dict(zip(self.sums, torchrun.total(self.sums.values())))
        return {**({"acc": sums["hits"] / sums["labelled"]} if "labelled" in sums else {}),
                "psnr": _psnr(sums["error"] / sums["values"]), "colour": _psnr(sums["colour_error"] / sums["values"]),
                **{name: sums[name] / sums["pictures"] for name in ("colourfulness", "true_colourfulness")}}


def _psnr(mse: float) -> float:
    return -10 * math.log10(max(mse, 1e-10))


def colourfulness(rgb: torch.Tensor) -> torch.Tensor:
    """Return the colourfulness (N,) of RGB (N, 3, H, W) in units of 256, on the scale of bytes; grey has 0.

    Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images": the metric in opponent colours.
    """
    red, green, blue = (256 * rgb).flatten(2).unbind(dim=1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])  # (2, N, H * W)
    spread = opponents.var(dim=2, correction=0).sum(dim=0).sqrt()
    return spread + 0.3 * opponents.mean(dim=2).square().sum(dim=0).sqrt()


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return ``Scores`` results by name as aligned text, one row each, and the colourfulness of the true pictures.

    A dash stands where a figure does not apply; a column that applies to no row is left out.
    """
    rows = dict(rows)
    rows["true pictures"] = {"colourfulness": next(iter(rows.values()))["true_colourfulness"]}
    width = max(map(len, rows))
    columns = [[name.ljust(width) for name in ("", *rows)]]
    for head, (key, form) in COLUMNS.items():
        if any(key in row for row in rows.values()):
            cells = [head, *(form.format(row[key]) if key in row else "-" for row in rows.values())]
            columns.append([cell.rjust(max(map(len, cells))) for cell in cells])
    return "\n".join("  ".join(line) for line in zip(*columns, strict=True))
