"""Drawings: pictures beside each other, training curves, sheets of activations; each function writes one PNG.

Pictures are floats in [0, 1] in units of 256, as everywhere here, in arrays or tensors. They are
enlarged with hard pixels: each becomes a square of equal ones, nothing is resampled. Pages of pictures
are put together by Pillow, which is loaded in a tenth of matplotlib's time; that one is imported for curves and
colour scales only, and none of its global state is touched.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from colour.files import atomic_write

DPI = 128  # of curves
MARGIN, GAP, LINE = 12, 8, 24  # pixels: around a page, between pictures, a line of text
TITLE, LABEL, HEADING, SMALL, NOTE, TINY = 20, 21, 18, 16, 14, 11  # pixels, of letters
MAX_WIDTH = 1600


class _Page:
    """A white page with a title and a note above ``width`` x ``height`` pixels.

    Everywhere (x, y) counts pixels from the top left corner below title and note.
    """

    def __init__(self, width: int, height: int, title: str | None = None, note: str | None = None):
        lines = [(line, size) for text, size in ((title, TITLE), (note, NOTE)) for line in _shown(text).splitlines()]
        width = max([width] + [_text_width(line, size) for line, size in lines])
        self.top = MARGIN + LINE * len(lines) + (GAP if lines else 0)
        self.image = Image.new("RGB", (width + 2 * MARGIN, self.top + height + MARGIN), "white")
        self.draw = ImageDraw.Draw(self.image)
        for row, (line, size) in enumerate(lines):
            self.text(0, MARGIN - self.top + LINE * row + 2 * LINE // 3, line, size)

    def picture(self, x: int, y: int, pixels: np.ndarray, scale: int) -> None:
        """Put uint8 (H, W, 3), enlarged, with its top left corner at (x, y)."""
        self.image.paste(_enlarged(pixels, scale), (x + MARGIN, y + self.top))

    def text(self, x: int, y: int, text: str, size: int, anchor: str = "ls", *, colour: str = "black",
             bold: bool = False) -> None:
        """Write at (x, y), which is the point of the text that ``anchor`` says in Pillow's two letters."""
        self.draw.text((x + MARGIN, y + self.top), text, colour, _font(size, bold), anchor, spacing=8)

    def save(self, path: str | Path) -> None:
        _save(self.image, path)


def _save(image: Image.Image, path: str | Path) -> None:
    with atomic_write(path) as file:
        image.save(file, format="PNG")


def _save_figure(figure, path: str | Path) -> None:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def _enlarged(pixels: np.ndarray, scale: int) -> Image.Image:
    height, width, _ = pixels.shape
    return Image.fromarray(pixels).resize((scale * width, scale * height), Image.Resampling.NEAREST)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib and has the letters of most alphabets, which Pillow's own has not."""
    matplotlib = Path(importlib.util.find_spec("matplotlib").origin).parent  # its place, without importing it
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(matplotlib / "mpl-data" / "fonts" / "ttf" / name, size)


def _shown(text: str | None) -> str:
    """Text with a question mark for what no font has: bytes of a file's name that are no letters here."""
    return (text or "").encode(errors="replace").decode()


def _text_width(text: str, size: int) -> int:
    """Pixels that the widest line of ``text`` takes."""
    font = _font(size)
    return math.ceil(max(font.getlength(line) for line in text.split("\n")))


def _floats(values) -> np.ndarray:
    """An array, or a tensor on any device, as an array of floats."""
    return np.asarray(values.detach().cpu().double() if hasattr(values, "detach") else values, dtype=float)


def _pixels(images) -> np.ndarray:
    """RGB or grey (..., 3 or 1, H, W) in [0, 1] as uint8 (..., H, W, 3)."""
    pixels = (np.moveaxis(_floats(images), -3, -1) * 256).round().clip(0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3))


def _heat(values: np.ndarray) -> np.ndarray:
    """Numbers (H, W) from 0 (dark) to 1 (yellow) as uint8 (H, W, 3)."""
    from matplotlib import colormaps

    return colormaps["viridis"](values, bytes=True)[..., :3]


def picture(path: str | Path, image, scale: int = 8) -> None:
    """One picture (3 or 1, H, W), enlarged, and nothing else."""
    _save(_enlarged(_pixels(image), scale), path)


def comparison(path: str | Path, rows: list[tuple[str, object]], title: str | None = None) -> None:
    """One row for each (label, images): N pictures (N, 3 or 1, H, W) beside each other.

    N and the size are the same in all rows; a label may have several lines. More pictures than fit
    go on in a second strip below, and so on.
    """
    labels, images = [_shown(label) for label, _ in rows], np.stack([_pixels(images) for _, images in rows])
    _, count, height, width, _ = images.shape
    left = max(_text_width(label, LABEL) for label in labels) + 2 * GAP
    room = MAX_WIDTH - 2 * MARGIN - left + GAP
    strips = math.ceil(count / max(1, min(12, room // (width + GAP))))
    columns = math.ceil(count / strips)
    scale = max(1, min(128 // height, (room // columns - GAP) // width))
    step_x, step_y = scale * width + GAP, scale * height + GAP
    strip_height = len(rows) * step_y + GAP
    page = _Page(left + columns * step_x - GAP, strips * strip_height - 2 * GAP, title)
    for strip, row in np.ndindex(strips, len(rows)):
        y = strip * strip_height + row * step_y
        page.text(0, y + scale * height // 2, labels[row], LABEL, "lm")
        for column, pixels in enumerate(images[row, strip * columns:(strip + 1) * columns]):
            page.picture(left + column * step_x, y, pixels, scale)
    page.save(path)


def training_curve(path: str | Path, history: list[dict], title: str | None = None) -> None:
    """Loss and, where pixels were classified, accuracy by epoch, in training and validation.

    ``history`` has one dict an epoch: loss, val_loss, and perhaps acc, val_acc in [0, 1].
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = [("loss", "cross-entropy", 1), ("acc", "accuracy (%)", 100)]
    if "acc" not in history[0]:
        panels = [("loss", "mean squared error", 1)]
    figure = Figure((5 * len(panels), 3.8), dpi=DPI, facecolor="white", layout="constrained")
    for axes, (name, label, unit) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for prefix, what in (("", "training"), ("val_", "validation")):
            values = [epoch[prefix + name] * unit for epoch in history]
            axes.plot(range(1, len(values) + 1), values, marker="o" if len(values) <= 30 else "", ms=4, label=what)
        axes.set(xlabel="epoch", ylabel=label, xlim=(0.5, len(history) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(_shown(title), parse_math=False)
    _save_figure(figure, path)


def dots(path: str | Path, panels: dict[str, str], runs: list[dict], title: str) -> None:
    """Every run as a dot and the mean as a bar, by name, in one panel for each of ``panels`` (figure: label).

    ``runs`` have a ``name`` and the figures. Names come in the order of their first runs.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(run["name"] for run in runs))
    figure = Figure((5 * len(panels), 3.8), dpi=DPI, facecolor="white", layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        values = [[run[name] for run in runs if run["name"] == one] for one in names]
        for place, of_name in enumerate(values):
            axes.plot([place] * len(of_name), of_name, "o", color="C0", ms=5, alpha=0.6)
            axes.hlines(sum(of_name) / len(of_name), place - 0.3, place + 0.3, color="C1", lw=2)
        axes.set_xticks(range(len(names)), names, rotation=20)
        axes.set_ylabel(label)
        axes.grid(axis="y", alpha=0.3)
    figure.suptitle(title, parse_math=False)
    _save_figure(figure, path)


def sheet(path: str | Path, channels, title: str, colours: np.ndarray | None = None) -> None:
    """Every channel of (C, H, W) as a picture with its number and range, in a nearly square grid.

    ``colours`` (C, 3) in [0, 1] puts a patch of its colour beside each number.
    """
    channels = _floats(channels)
    count, height, width = channels.shape
    root = math.ceil(math.sqrt(count))
    columns = min(range(root, 4 * root // 3 + 1), key=lambda columns: -count % columns)  # few empty places
    scale = max(1, (128 if columns <= 6 else 96) // max(height, width))
    step_x, step_y = scale * width + 2 * GAP, scale * height + LINE + GAP
    note = "each scaled to its own range, from dark to yellow; a constant channel (silent here, or dead) is plain grey"
    if colours is not None:
        note += "\nbeside its number, the colour that a channel stands for"
    page = _Page(columns * step_x - 2 * GAP, math.ceil(count / columns) * step_y - GAP,
                 f"{title}: {count} channel{'s' * (count > 1)} of {height}x{width}", note)
    for i, channel in enumerate(channels):
        x, y = i % columns * step_x, i // columns * step_y
        low, high = channel.min(), channel.max()
        span, pixels = _short(low), np.full((height, width, 3), 176, np.uint8)
        if high > low:
            span, pixels = f"{span} to {_short(high)}", _heat((channel - low) / (high - low))
        page.picture(x, y + LINE, pixels, scale)
        page.text(x, y + LINE - 5, str(i), SMALL)
        page.text(x + scale * width, y + LINE - 5, span, TINY, "rs", colour="dimgrey")
        if colours is not None:
            patch = np.pad(_pixels(np.tile(colours[i][:, None, None], (12, 12))), ((1, 1), (1, 1), (0, 0)))
            page.picture(x + LINE, y + LINE - 18, patch, 1)
    page.save(path)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def uncertainty(path: str | Path, rows: list[tuple[str, list[tuple[str, object]]]], entropy, max_entropy: float,
                title: str, note: str | None = None) -> None:
    """What a network is unsure of in one picture, and what follows from it, in rows of pictures.

    Each row is (heading, [(caption, image (3 or 1, H, W)), ...]). The first goes on with ``entropy``
    (H, W), in bits from 0 to ``max_entropy``, and its scale.
    """
    rows = [(heading, [(caption, _pixels(image)) for caption, image in pictures]) for heading, pictures in rows]
    rows[0][1].append(("entropy", _heat(_floats(entropy) / max_entropy)))
    height, width = entropy.shape
    scale = max(1, 192 // max(height, width))
    step_x, step_y = scale * width + 2 * GAP, scale * height + 2 * LINE + 2 * GAP
    columns = max(len(rows[0][1]) + 1, *(len(pictures) for _, pictures in rows))
    page = _Page(columns * step_x - 2 * GAP, len(rows) * step_y - 2 * GAP, title, note)
    for row, (heading, pictures) in enumerate(rows):
        y = row * step_y + 2 * LINE
        page.text(0, y - LINE - 7, heading, HEADING, bold=True)
        for column, (caption, pixels) in enumerate(pictures):
            page.text(column * step_x, y - 7, caption, SMALL)
            page.picture(column * step_x, y, pixels, scale)
    x, y, length = len(rows[0][1]) * step_x, 2 * LINE, scale * height
    page.picture(x, y, _heat(np.linspace(1, 0, length)[:, None].repeat(LINE, axis=1)), 1)
    for bits in range(int(max_entropy) + 1):
        page.text(x + LINE, y + round(length * (1 - bits / max_entropy)), f"- {bits} bits", NOTE, "lm")
    page.save(path)
