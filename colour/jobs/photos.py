"""Colour photographs of any size, with networks that learnt pictures of 32x32.

The network sees the grey photo reduced to about the scale it learnt. Only the chroma of its answer, how far R, G and
B lie from their mean, is enlarged to the photo's size; the mean itself stays the photo's at every pixel. At full size
everything happens in place and tile by tile: a photo of 24 megapixels takes 0.43 to 0.51 GB in all, of which Python
and PyTorch are 0.3.
"""

import math
import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn

from colour.data import image_file
from colour.data.picture_folder import find_pictures
from colour.decode import keep_grey
from colour.jobs.plots import ORIGIN
from colour.learning.networks import side_multiple
from colour.learning.task import Task
from colour.pixels import grey_of, to_rgb
from colour.system.cli import UserError, one_line, show_traceback
from colour.system.devices import threads
from colour.system.files import atomic_write, display_path, sha256

TILE = 512  # pixels; three channels of floats for one are 3 MB
RADIUS, EPSILON = 1, 1e-3  # of the guided filter: pixels of the network's picture, squared grey in [0, 1]
COMPARE_WIDTH, GAP = 1600, 8  # pixels
LONGEST = 150  # bytes of a photo's name that its results keep; file systems allow 255 for all of it


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """Find the photos: the files named, and all pictures at any depth in the folders named, sorted; each once.

    Skips earlier results in folders. Raises ``UserError`` for a path that does not exist, and if nothing is found.
    """
    found = {}
    for path in paths:
        if not os.path.exists(path):  # nor does "", which an unset variable leaves
            raise UserError(f"--image: there is no {path}")
        files = [Path(path)]
        if os.path.isdir(path):
            files = [file for file in sorted(Path(file.path) for file in find_pictures(path)) if _origin(file) is None]
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise UserError(f"--image: no pictures in {', '.join(map(str, paths))}")
    return list(found.values())


def _origin(path: Path) -> str | None:
    """Return the SHA-256 of the photo that a result was made from, "" for a drawing, ``None`` for any other file."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get(ORIGIN)
    except (OSError, ValueError, Image.DecompressionBombError):  # no PNG, or a damaged or too large one
        return None


def _reduced(image: Image.Image, scale: float) -> Image.Image:
    """Return a smaller copy, or one of equal size if ``scale`` is above 1, of at least one pixel."""
    size = [max(1, round(side * min(1, scale))) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


@torch.inference_mode()
def chroma_of(network: nn.Module, task: Task, grey: np.ndarray) -> np.ndarray:
    """Return how far R, G and B should be from grey (h, w) in [0, 1), as (3, h, w); sides may have 1 pixel."""
    height, width = grey.shape
    multiple = side_multiple(network)
    padded = torch.from_numpy(np.pad(grey, ((0, -height % multiple), (0, -width % multiple)), mode="symmetric"))
    padded = padded[None, None].to(next(network.parameters()).device)
    rgb = replace(task, keep_grey=True).colours(network(padded), padded)
    return (rgb - grey_of(rgb))[0, :, :height, :width].cpu().numpy()


def guided(grey: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Return coefficients (2, 3, h, w) that give chroma (3, h, w) from grey (h, w): a * grey + b.

    This is the guided filter (He, Sun and Tang 2010, "Guided Image Filtering", eq. 5, 6 and 8). The coefficients are
    enlarged and applied to the grey of the full size (He and Sun 2015, "Fast Guided Filter"): so the colour has its
    edges where grey has them. Enlarged colour would bleed over them.
    """
    from scipy.ndimage import uniform_filter

    def mean(maps):
        return uniform_filter(maps, size=(1, 2 * RADIUS + 1, 2 * RADIUS + 1), mode="nearest")

    grey = grey[None]
    grey_mean, chroma_mean = mean(grey), mean(chroma)
    a = (mean(grey * chroma) - grey_mean * chroma_mean) / (mean(grey * grey) - grey_mean**2 + EPSILON)
    b = chroma_mean - a * grey_mean
    return np.stack([mean(a), mean(b)])


@threads(1)  # a second one gains nothing here, and beside other work they wait for each other
@torch.inference_mode()
def tint(image: Image.Image, coefficients: np.ndarray) -> None:
    """Colour an RGB or RGBA picture in place, by the ``guided`` coefficients (2, 3, h, w) enlarged to its size.

    R + G + B of every pixel stay what they were, and so does alpha.
    """
    width, height = image.size
    h, w = coefficients.shape[-2:]
    maps = [Image.fromarray(values) for values in coefficients.reshape(6, h, w)]
    for top, left in product(range(0, height, TILE), range(0, width, TILE)):
        right, bottom = min(left + TILE, width), min(top + TILE, height)
        box = (left * w / width, top * h / height, min(right * w / width, w), min(bottom * h / height, h))
        size = (right - left, bottom - top)
        a, b = (torch.from_numpy(np.stack([values.resize(size, Image.Resampling.BILINEAR, box) for values in three]))
                for three in (maps[:3], maps[3:]))
        pixels = torch.from_numpy(np.array(image.crop((left, top, right, bottom))))  # (H, W, 3 or 4)
        total = pixels[..., :3].sum(dim=-1)
        grey = total / 768  # as the network saw it: bytes / 256
        rgb = keep_grey((a * grey + b)[None], (total / 765)[None, None])[0] * 255
        # Two are rounded, the third has what is left of the total; if that is -1 or 256, the first gives way.
        red, blue = rgb[0].round().long(), rgb[2].round().long()
        green = (total - red - blue).clamp(0, 255)
        pixels[..., :3] = torch.stack([total - green - blue, green, blue], dim=-1)
        image.paste(Image.fromarray(pixels.numpy()), (left, top))


def colour(image: Image.Image, network: nn.Module, task: Task, size: int) -> None:
    """Colour an RGB or RGBA picture in place; ``network``, in eval mode, sees it on about size x size pixels."""
    small = _reduced(image, size / math.sqrt(image.width * image.height))
    pixels = torch.from_numpy(np.array(small.convert("RGB"))).permute(2, 0, 1)
    grey = grey_of(to_rgb(pixels)[None])[0, 0].numpy()
    tint(image, guided(grey, chroma_of(network, task, grey)))


def side_by_side(pictures: list[Image.Image], below: bool) -> Image.Image:
    """Put pictures of one size on white, beside or ``below`` each other."""
    width, height = pictures[0].size
    step_x, step_y = (0, height + GAP) if below else (width + GAP, 0)
    last = len(pictures) - 1
    sheet = Image.new("RGB", (width + last * step_x, height + last * step_y), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * step_x, i * step_y), picture if picture.mode == "RGBA" else None)
    return sheet


def colour_file(path: Path, network: nn.Module, task: Task, size: int, result: Path, compare: Path) -> str | None:
    """Write a photo coloured to ``result``, and beside its grey and its own colours, if any, to ``compare``.

    Returns a warning if the file has faults.
    """
    image = image_file.read(path)
    panorama = image.width > 2 * image.height
    scale = (COMPARE_WIDTH if panorama else (COMPARE_WIDTH - 2 * GAP) // 3) / max(image.size)
    original = _reduced(image, scale)
    grey = np.array(original)
    has_colour = image_file.has_colour(grey)
    grey[..., :3] = grey[..., :3].mean(axis=-1, keepdims=True).round()
    colour(image, network, task, size)
    text, warning = PngInfo(), image.info.pop("warning", None)
    text.add_text(ORIGIN, sha256(path))
    with atomic_write(result) as file:
        # A tenth larger than by default, in half the time.
        image.save(file, "PNG", compress_level=3, pnginfo=text, **image.info)
    pictures = [Image.fromarray(grey), _reduced(image, scale), *([original] if has_colour else [])]
    sheet = side_by_side(pictures, below=panorama)
    with atomic_write(compare) as file:
        sheet.save(file, "PNG", pnginfo=text)
    return warning


def _free_paths(path: Path, outdir: Path, suffix: str, taken: set[str]) -> tuple[Path, Path]:
    """Return where result and comparison of a photo go; add these paths to ``taken``."""
    stem, digest = path.stem, sha256(path)
    while len(os.fsencode(stem)) > LONGEST:
        stem = stem[:-1]
    for number in count(1):
        name = stem + (f"-{number}" if number > 1 else "") + f"_{suffix}"
        results = outdir / f"{name}.png", outdir / f"{name}_compare.png"
        keys = {_key(result) for result in results}
        if not keys & taken and all(_origin(result) == digest for result in results if result.is_file()):
            taken |= keys
            return results


def _key(path: Path) -> str:
    return str(path.resolve()).casefold()


def colour_files(paths: Iterable[str | Path], network: nn.Module, task: Task, *, outdir: Path, suffix: str,
                 size: int) -> int:
    """Colour the photos in ``paths``, files and folders, one by one; a faulty one is reported and skipped.

    Writes NAME_SUFFIX.png and NAME_SUFFIX_compare.png for each, or NAME-2_SUFFIX.png where that is an input or not an
    earlier result of this photo. Returns the exit status, 1 if a photo failed. Raises ``UserError`` as ``find_photos``.
    """
    from tqdm import tqdm

    warnings.filterwarnings("ignore", module="PIL")  # about sizes, which are checked, and about metadata
    files = find_photos(paths)
    taken = {_key(file) for file in files}
    status = 0
    for path in tqdm(files, "photos", leave=False, disable=None if len(files) > 1 else True, unit="photo"):
        try:
            results = _free_paths(path, outdir, suffix, taken)
            warning = colour_file(path, network, task, size, *results)
            tqdm.write(one_line(f"{path}: {display_path(results[0])}"))
            if warning:
                tqdm.write(one_line(f"warning: {path}: {warning}"), sys.stderr)
        except (UserError, OSError) as error:
            show_traceback(error)
            known = getattr(error, "filename", None) == str(path)  # then the message need not name it again
            message = error.strerror if known else " ".join(str(error).split())
            tqdm.write(one_line(f"error: {path}: {message}"), sys.stderr)
            status = 1
    return status
