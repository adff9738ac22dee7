"""Draw pictures beside each other, training curves and sheets of activations; each function writes one PNG.

Pictures are floats in [0, 1] in units of 256, as everywhere here, in arrays or tensors. They are enlarged with hard
pixels: each becomes a square of equal ones, nothing is resampled. Pillow puts pages of pictures together, because it
loads in a tenth of the time of matplotlib, which draws curves and colour scales.
"""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from colour.system.cli import UserError, brief
from colour.system.files import atomic_write

MARGIN, GAP, LINE = 12, 8, 24  # pixels: around a page, between pictures, a line of text
TITLE, LABEL, SMALL, NOTE, TINY = 20, 21, 16, 14, 12  # pixels, of letters
MAX_WIDTH = 1600
ORIGIN = "Colourized from"  # a text in every PNG from here: SHA-256 of photo and settings, empty in a drawing
DPI = 128  # of curves
OWN_RANGE = ("each channel scaled to its own range, from dark to yellow; a constant channel (silent here, or dead) is "
             "plain grey")


class _Page:
    """Draw on a white page with a title and a note above ``width`` x ``height`` pixels.

    (x, y) always counts pixels from the top left corner below title and note.
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

    def text(self, x: int, y: int, text: str, size: int, anchor: str = "ls", colour: str = "black") -> None:
        """Write text with the point that ``anchor`` names, in Pillow's two letters, at (x, y)."""
        self.draw.text((x + MARGIN, y + self.top), text, colour, ImageFont.load_default(size), anchor, spacing=8)

    def save(self, path: str | Path) -> None:
        _save(self.image, path)


def _save(image: Image.Image, path: str | Path) -> None:
    text = PngInfo()
    text.add_text(ORIGIN, "")
    with atomic_write(path) as file:
        image.save(file, format="PNG", pnginfo=text)


def save_figure(figure, path: str | Path) -> None:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={ORIGIN: ""})


@contextmanager
def matplotlib_defaults() -> Iterator[ModuleType]:
    """Yield matplotlib with its own defaults in the block: no style of the user changes our pictures.

    pyplot is never imported, so a notebook keeps its backend. Raises ``UserError`` if the user's settings are broken.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of folders that it cannot write to
    package = os.environ.get("MPLBACKEND", "").removeprefix("module://").partition(".")[0]
    if package == "matplotlib_inline" and not find_spec(package):  # exported by a notebook, and not installed here
        del os.environ["MPLBACKEND"]
    try:
        import matplotlib.figure
    except ValueError as error:
        raise UserError(f"matplotlib cannot read its settings ({brief(error)}): correct or remove MPLBACKEND and "
                        "matplotlibrc") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield matplotlib


def _enlarged(pixels: np.ndarray, scale: int) -> Image.Image:
    height, width, _ = pixels.shape
    return Image.fromarray(pixels).resize((scale * width, scale * height), Image.Resampling.NEAREST)


def _shown(text: str | None) -> str:
    """Return text with a question mark for each letter that Pillow's font does not have."""
    return (text or "").encode("ascii", "replace").decode()


def _text_width(text: str, size: int) -> int:
    """Return how many pixels wide the widest line of ``text`` is."""
    font = ImageFont.load_default(size)
    return math.ceil(max(font.getlength(line) for line in text.split("\n")))


def _floats(values) -> np.ndarray:
    """Return an array, or a tensor on any device, as an array of floats."""
    return np.asarray(values.detach().cpu().double() if hasattr(values, "detach") else values, dtype=float)


def _pixels(images) -> np.ndarray:
    """Return RGB or grey (..., 3 or 1, H, W) in [0, 1] as uint8 (..., H, W, 3)."""
    pixels = (np.moveaxis(_floats(images), -3, -1) * 256).round().clip(0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3))


def heat(values: np.ndarray) -> np.ndarray:
    """Return numbers of any shape from 0 (dark) to 1 (yellow) as uint8, with RGB as last dimension."""
    with matplotlib_defaults() as matplotlib:
        return matplotlib.colormaps["viridis"](values, bytes=True)[..., :3]


def picture(path: str | Path, image, scale: int = 8) -> None:
    """Save one picture (3 or 1, H, W), enlarged, and nothing else."""
    _save(_enlarged(_pixels(image), scale), path)


def comparison(path: str | Path, rows: list[tuple[str, object]], title: str | None = None) -> None:
    """Draw one row for each (label, images): N pictures (N, 3 or 1, H, W) beside each other.

    N and the size are the same in all rows; a label may have several lines. Pictures that do not fit into one strip
    go to further strips below.
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


def training_curve(path: str | Path, history: list[dict], loss_name: str, title: str | None = None) -> None:
    """Draw loss and, where pixels were classified, accuracy by epoch, in training and validation.

    ``history`` has one dict an epoch: loss, val_loss, and perhaps acc, val_acc in [0, 1].
    """
    panels = {"loss": (loss_name, 1), "acc": ("accuracy (%)", 100)}
    panels = {name: panel for name, panel in panels.items() if name in history[0]}
    epochs = range(1, len(history) + 1)
    with matplotlib_defaults() as matplotlib:
        figure = matplotlib.figure.Figure((5 * len(panels), 3.8), layout="constrained")
        subplots = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, (label, unit)) in zip(subplots, panels.items(), strict=True):
            for prefix, what in (("", "training"), ("val_", "validation")):
                values = [epoch[prefix + name] * unit for epoch in history]
                axes.plot(epochs, values, marker="o" if len(values) <= 30 else "", ms=4, label=what)
            axes.set(xlabel="epoch", ylabel=label, xlim=(0.5, len(history) + 0.5))
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            axes.grid(alpha=0.3)
            axes.legend()
        figure.suptitle(_shown(title), parse_math=False)
        save_figure(figure, path)


def sheet(path: str | Path, channels, title: str, colours: np.ndarray | None = None) -> None:
    """Draw every channel of (C, H, W) with its number and range, in a nearly square grid.

    ``colours`` (C, 3) in [0, 1] puts a patch of its colour beside each number.
    """
    channels = _floats(channels)
    count, height, width = channels.shape
    root = math.ceil(math.sqrt(count))
    columns = min(range(root, 4 * root // 3 + 1), key=lambda columns: -count % columns)  # few empty places
    scale = max(1, (128 if columns <= 6 else 96) // max(height, width))
    step_x, step_y = scale * width + 2 * GAP, scale * height + LINE + GAP
    note = OWN_RANGE if colours is None else f"{OWN_RANGE}\nbeside its number, the colour that a channel stands for"
    page = _Page(columns * step_x - 2 * GAP, math.ceil(count / columns) * step_y - GAP,
                 f"{title}: {size_of(channels)}", note)
    for i, (channel, pixels) in enumerate(zip(channels, _in_own_range(channels), strict=True)):
        x, y = i % columns * step_x, i // columns * step_y
        low, high = channel.min(), channel.max()
        page.picture(x, y + LINE, pixels, scale)
        page.text(x, y + LINE - 5, str(i), SMALL)
        page.text(x + scale * width, y + LINE - 5, _short(low) + (f" to {_short(high)}" if high > low else ""), TINY,
                  "rs", colour="dimgrey")
        if colours is not None:
            patch = np.pad(_pixels(np.tile(colours[i][:, None, None], (12, 12))), ((1, 1), (1, 1), (0, 0)))
            page.picture(x + LINE, y + LINE - 18, patch, 1)
    page.save(path)


def overview(path: str | Path, pictures: dict[str, object], blocks: dict[str, object], title: str) -> None:
    """Draw pictures (3 or 1, H, W), and below them every channel of several blocks (C, H, W), block after block.

    Both have their names as keys.
    """
    rows = [(", ".join(pictures), [_pixels(image) for image in pictures.values()]),
            *((f"{name}: {size_of(channels)}", _in_own_range(_floats(channels))) for name, channels in blocks.items())]
    columns, side = 16, 64
    step = side + GAP // 2
    heights = [LINE + math.ceil(len(tiles) / columns) * step + GAP for _, tiles in rows]
    page = _Page(columns * step - GAP // 2, sum(heights) - GAP, title, OWN_RANGE)
    y = 0
    for (heading, tiles), height in zip(rows, heights, strict=True):
        page.text(0, y + LINE - 7, heading, SMALL)
        for i, pixels in enumerate(tiles):
            page.picture(i % columns * step, y + LINE + i // columns * step, pixels, max(1, side // max(pixels.shape)))
        y += height
    page.save(path)


def numbered(path: str | Path, images: np.ndarray, title: str) -> None:
    """Draw bytes (N, 3, H, W) in rows of 20 pictures, with their numbers from 0 on."""
    count, _, height, width = images.shape
    columns = 20
    scale = max(1, 64 // max(height, width))
    step_x, step_y = scale * width + GAP, scale * height + LINE
    page = _Page(columns * step_x - GAP, math.ceil(count / columns) * step_y, title)
    for i, image in enumerate(images):
        x, y = i % columns * step_x, i // columns * step_y
        page.text(x, y + LINE - 7, str(i), NOTE)
        page.picture(x, y + LINE, image.transpose(1, 2, 0), scale)
    page.save(path)


def size_of(channels) -> str:
    """Return the number and the size of channels (C, H, W) in words."""
    count, height, width = channels.shape
    return f"{count} channel{'s' * (count > 1)} of {height}x{width}"


def _in_own_range(channels: np.ndarray) -> np.ndarray:
    """Return channels (C, H, W) as uint8 (C, H, W, 3), each from its lowest to its highest value."""
    low, high = (edge(axis=(1, 2), keepdims=True) for edge in (channels.min, channels.max))
    pixels = heat((channels - low) / np.where(high > low, high - low, 1))
    pixels[~(high > low).flatten()] = 176
    return pixels


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
