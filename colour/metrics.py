"""How good a colouring is: figures over all pictures, and the simple baselines to judge them by."""

import math
from collections import defaultdict

import torch

from colour.decode import most_probable
from colour.palette import MAX_COLOURS, Palette

BATCH = 250  # pictures that the baselines turn into floats at a time
LEVELS = 256  # of grey
CEILING = "palette ceiling"
COLUMNS = {  # of the table: the figure, and how it is written
    "accuracy": ("acc", "{:.1%}"),
    "top-5": ("top5", "{:.1%}"),
    "balanced": ("balanced_acc", "{:.1%}"),
    "PSNR": ("psnr", "{:.2f} dB"),
    "colourfulness": ("colourfulness", "{:.1f}"),
}


class Scores:
    """Sums over pictures, added batch by batch and divided once, by what was seen."""

    def __init__(self):
        self.pictures = self.values = self.ranked = self.top5 = 0
        self.sums = torch.zeros(3, dtype=torch.float64)  # squared error, colourfulness, the truth's colourfulness
        # Pixels by their true label: all, and those labelled right.
        self.occurs, self.hits = torch.zeros(2, MAX_COLOURS, dtype=torch.int64)

    @torch.no_grad()
    def add(self, prediction: torch.Tensor, truth: torch.Tensor, logits: torch.Tensor | None = None,
            labels: torch.Tensor | None = None, *, guess: torch.Tensor | None = None) -> None:
        """Count a batch of pictures: RGB (N, 3, H, W) in units of 256, as predicted and as they are.

        Where pixels are classified, ``labels`` (N, H, W) are the true ones, by which ``logits``
        (N, K, H, W) are judged or, if there are none, the predicted labels ``guess`` (N, H, W). Raises
        ``ValueError`` when the shapes of prediction and truth differ.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"a prediction of shape {tuple(prediction.shape)} for {tuple(truth.shape)}")
        error = (prediction - truth).square().sum(dim=(1, 2, 3))
        each = torch.stack([error, colourfulness(prediction), colourfulness(truth)])
        self.sums += each.cpu().double().sum(dim=1)
        self.pictures += len(truth)
        self.values += truth.numel()
        if logits is not None:
            labels = labels.long()
            guess = most_probable(logits)
            # The true colour's rank is how many exceed it: counting is faster than sorting. Those that do
            # not exceed it are counted, since NaN exceeds nothing and would rank first.
            not_above = (logits <= logits.gather(1, labels[:, None])).sum(dim=1, dtype=torch.int16)
            self.top5 += int((logits.shape[1] - not_above < 5).sum())
            self.ranked += labels.numel()
        if guess is not None:
            self.occurs += labels.flatten().bincount(minlength=MAX_COLOURS).cpu()
            self.hits += labels[guess == labels].bincount(minlength=MAX_COLOURS).cpu()

    def result(self) -> dict[str, float]:
        """The figures of all that was added (at least one picture).

        - ``acc``, ``top5``, ``balanced_acc`` in [0, 1], where pixels were classified: the share of pixels
          whose label is the most probable; is one of the 5 most probable, ties included (of logits
          only); and the mean recall over the colours that occur.
        - ``mse``, and ``psnr`` = -10 log10(mse) in dB: of the squared error of all pixels and channels. The
          peak is 1, that is 256 / 256, so PSNR follows from the mse alone; the brightest byte, 255,
          as the peak would give 0.03 dB less. Infinite where there is no error.
        - ``colourfulness``, ``true_colourfulness``: means over pictures.
        """
        figures = {}
        if self.occurs.any():
            figures["acc"] = int(self.hits.sum()) / int(self.occurs.sum())
            if self.ranked:
                figures["top5"] = self.top5 / self.ranked
            figures["balanced_acc"] = float((self.hits.double() / self.occurs)[self.occurs > 0].mean())
        error, predicted, true = self.sums.tolist()
        mse = error / self.values
        return {**figures, "mse": mse, "psnr": -10 * math.log10(mse) if mse else math.inf,
                "colourfulness": predicted / self.pictures, "true_colourfulness": true / self.pictures}


def colourfulness(rgb: torch.Tensor) -> torch.Tensor:
    """The colourfulness (N,) of RGB (N, 3, H, W) in units of 256, on the scale of bytes; 0 is grey.

    Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images": the metric in opponent colours.
    """
    red, green, blue = (256 * rgb).flatten(2).unbind(dim=1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])  # (2, N, H * W)
    spread = opponents.var(dim=2, correction=0).sum(dim=0).sqrt()
    return spread + 0.3 * opponents.mean(dim=2).square().sum(dim=0).sqrt()


def baselines(train_images: torch.Tensor, train_labels: torch.Tensor | None, valid_images: torch.Tensor,
              valid_labels: torch.Tensor | None, palette: Palette | None) -> dict[str, dict[str, float]]:
    """What can be had without a network: the ``Scores`` results on the validation pictures, by name.

    The grey input itself; the commonest training label everywhere; the commonest at each grey level; and
    the true labels, which nothing that picks one colour a pixel can beat (mixing colours can). Images are
    uint8 (N, 3, H, W), labels uint8 (N, H, W), or ``None`` as in regression: then the first alone applies.
    """
    scores = defaultdict(Scores)
    if train_labels is not None:
        majority, by_level = _commonest(train_images, train_labels, len(palette))
    for start in range(0, len(valid_images), BATCH):
        images = valid_images[start:start + BATCH]
        truth = images.float() / 256
        scores["all-grey picture"].add(truth.mean(dim=1, keepdim=True).expand_as(truth), truth)
        if train_labels is not None:
            labels = valid_labels[start:start + BATCH].long()
            guesses = {"majority colour": majority.expand_as(labels),
                       "most frequent colour per grey level": by_level[_grey_level(images)], CEILING: labels}
            for name, guess in guesses.items():
                scores[name].add(palette.rgb(guess), truth, labels=labels, guess=guess)
    return {name: score.result() for name, score in scores.items()}


def _grey_level(images: torch.Tensor) -> torch.Tensor:
    """The grey level 0-255 of each pixel of uint8 (N, 3, H, W): the mean of its channels, rounded down."""
    return images.sum(dim=1) // 3  # torch sums bytes as int64


def _commonest(images: torch.Tensor, labels: torch.Tensor, colours: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The commonest label, (), and that at each grey level or the nearest that occurs, (256,); the lower on a tie."""
    counts = torch.zeros(LEVELS * colours, dtype=torch.int64, device=images.device)
    for start in range(0, len(images), BATCH):
        pairs = _grey_level(images[start:start + BATCH]) * colours + labels[start:start + BATCH]
        counts += pairs.flatten().bincount(minlength=len(counts))
    counts = counts.view(LEVELS, colours)
    seen = counts.any(dim=1).nonzero().flatten()
    levels = torch.arange(LEVELS, device=images.device)
    nearest = seen[(levels[:, None] - seen).abs().argmin(dim=1)]
    return counts.sum(dim=0).argmax(), counts[nearest].argmax(dim=1)


def table(rows: dict[str, dict[str, float]]) -> str:
    """``Scores`` results by name as aligned text, a row each; the ceiling comes last, wherever it stands.

    A dash stands where a figure does not apply, no column where it applies to no row. The last row is
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
