"""Colour photographs of any size, with networks that learnt pictures of 32x32.

The network sees the grey photo reduced to about the scale it learnt, and to twice that, each also mirrored: the mean of
four answers has fewer spots of wrong colours. Only its chroma, how far R, G and B lie from grey, is enlarged to the
photo's size; the grey itself stays the photo's at every pixel. At full size everything happens in place and tile by
tile: a photo of 24 megapixels takes 0.35 GB beside Python and PyTorch, whose builds take 0.3 to 0.5.
"""

import hashlib
import math
import os
import sys
import warnings
from collections.abc import Iterable
from itertools import count, product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from colour.data import image_file
from colour.data.picture_folder import find_pictures
from colour.decode import keep_grey
from colour.jobs.plots import ORIGIN
from colour.learning.networks import side_multiple
from colour.learning.task import Task
from colour.pixels import bytes_with_grey, grey_of, to_rgb
from colour.system.cli import UserError, message_of, one_line, out_of_memory, progress
from colour.system.devices import threads
from colour.system.files import atomic_write, display_path, locked, sha256

TILE = 512  # pixels; three channels of floats for one are 3 MB
RADIUS, EPSILON = 3, 1e-3  # of the guided filter: pixels of the network's picture, squared grey in [0, 1]
LOCAL = 0.8  # of the chroma; the rest is the photo's mean colour, of which the network is surer
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
    """Return what a result was made from, "" for a drawing, ``None`` for any other file."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get(ORIGIN)
    except (OSError, ValueError, Image.DecompressionBombError):  # no PNG, or a damaged or too large one
        return None


def _reduced(image: Image.Image, scale: float) -> Image.Image:
    """Return a smaller copy, or one of equal size if ``scale`` is above 1, of at least one pixel."""
    size = [max(1, round(side * min(1, scale))) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _grey(pixels: np.ndarray) -> torch.Tensor:
    """Return the grey (1, 1, H, W) in [0, 1) of bytes (H, W, 3 or 4)."""
    return grey_of(to_rgb(torch.from_numpy(pixels[..., :3])).permute(2, 0, 1)[None])


@torch.inference_mode()
def chroma_of(network: nn.Module, task: Task, grey: torch.Tensor) -> torch.Tensor:
    """Return how far R, G and B should be from grey (1, 1, h, w), as (1, 3, h, w); sides may have 1 pixel.

    It is the mean of what the network says of the picture and of its mirror image.
    """
    height, width = grey.shape[-2:]
    multiple = side_multiple(network)
    padded = np.pad(grey[0, 0], ((0, -height % multiple), (0, -width % multiple)), mode="symmetric")
    padded = torch.from_numpy(padded)[None, None].to(next(network.parameters()).device)
    views = torch.cat([padded, padded.flip(-1)])
    rgb = task.with_decoding(keep_grey=True).colours(network(views), views)
    one, mirrored = (rgb - grey_of(rgb)).cpu().split(1)
    return (one + mirrored.flip(-1))[..., :height, :width] / 2


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
        box = (left * w / width, top * h / height, right * w / width, bottom * h / height)
        size = (right - left, bottom - top)
        a, b = (torch.from_numpy(np.stack([values.resize(size, Image.Resampling.BILINEAR, box) for values in three]))
                for three in (maps[:3], maps[3:]))
        pixels = np.array(image.crop((left, top, right, bottom)))  # (H, W, 3 or 4)
        grey = _grey(pixels)
        rgb = keep_grey(a * grey + b, grey * 256 / 255)[0] * 255
        pixels[..., :3] = bytes_with_grey(rgb, pixels[..., :3])
        image.paste(Image.fromarray(pixels), (left, top))


def colour(image: Image.Image, network: nn.Module, task: Task, size: int) -> None:
    """Colour an RGB or RGBA picture in place; ``network``, in eval mode, sees it on about size x size pixels."""
    scale = size / math.sqrt(image.width * image.height)
    grey, finer = (_grey(np.array(_reduced(image, scale * factor).convert("RGB"))) for factor in (1, 2))
    chroma = chroma_of(network, task, grey)
    chroma = (chroma + adaptive_avg_pool2d(chroma_of(network, task, finer), chroma.shape[-2:])) / 2
    chroma = torch.lerp(chroma.mean(dim=(2, 3), keepdim=True), chroma, LOCAL)
    tint(image, guided(grey[0, 0].numpy(), chroma[0].numpy()))


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Put pictures of one size on white."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * (width + GAP), 0), picture if picture.mode == "RGBA" else None)
    return sheet


def colour_file(path: Path, network: nn.Module, task: Task, size: int) -> tuple[Image.Image, Image.Image]:
    """Return a photo coloured, and a sheet that shows it beside its grey and its own colours, if any.

    The ``info`` of the first is that of ``image_file.read``.
    """
    image = image_file.read(path)
    scale = (COMPARE_WIDTH - 2 * GAP) // 3 / max(image.size)
    original = _reduced(image, scale)
    grey = np.array(original)
    has_colour = image_file.has_colour(grey)
    grey[..., :3] = (_grey(grey)[0, 0, ..., None] * 256).round()
    colour(image, network, task, size)
    pictures = [Image.fromarray(grey), _reduced(image, scale), *([original] if has_colour else [])]
    return image, side_by_side(pictures)


def save(image: Image.Image, sheet: Image.Image, path: Path, outdir: Path, suffix: str, origin: str) -> Path:
    """Write what ``colour_file`` made of the photo at ``path``; return where the coloured photo is.

    Replaces only files of the same ``origin``. Takes the next number where others are, or another process writes.
    """
    stem, text = path.stem, PngInfo()
    text.add_text(ORIGIN, origin)
    while len(os.fsencode(stem)) > LONGEST:
        stem = stem[:-1]
    for number in count(1):
        name = stem + (f"-{number}" if number > 1 else "") + f"_{suffix}"
        result, compare = results = outdir / f"{name}.png", outdir / f"{name}_compare.png"
        with locked(outdir / f".{name}.lock") as free:
            if free and all(_origin(file) == origin for file in results if file.is_file()):
                with atomic_write(result) as file:
                    # A tenth larger than by default, in half the time.
                    image.save(file, "PNG", compress_level=3, pnginfo=text, **image.info)
                with atomic_write(compare) as file:
                    sheet.save(file, "PNG", pnginfo=text)
                return result


def settings(network: nn.Module, task: Task, size: int) -> str:
    """Return a SHA-256 of all that decides a result, except for the photo."""
    facts = vars(task) | {"palette": task.palette and task.palette.sha256(), "size": size}
    digest = hashlib.sha256(f"{type(network).__name__} {facts}".encode())
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def colour_files(paths: Iterable[str | Path], network: nn.Module, task: Task, *, outdir: Path, suffix: str,
                 size: int) -> int:
    """Colour the photos in ``paths``, files and folders, one by one; one that fails is reported and skipped.

    Writes NAME_SUFFIX.png and NAME_SUFFIX_compare.png for each, or NAME-2_SUFFIX.png where that is anything but an
    earlier result of this photo and these settings. Returns the exit status, 1 if a photo failed. Raises ``UserError``
    as ``find_photos``.
    """
    from tqdm import tqdm

    warnings.filterwarnings("ignore", module="PIL")  # about sizes, which are checked, and about metadata
    files, made_with, status = find_photos(paths), settings(network, task, size), 0
    for path in progress(files, len(files), desc="photos", unit="photo", disable=len(files) == 1 or None):
        try:
            image, sheet = colour_file(path, network, task, size)
            warning = image.info.pop("warning", None)
            result = save(image, sheet, path, outdir, suffix, f"{sha256(path)} {made_with}")
            tqdm.write(one_line(f"{path}: {display_path(result)}"))
            if warning:
                tqdm.write(one_line(f"warning: {path}: {warning}"), sys.stderr)
        except Exception as error:
            if not (isinstance(error, (UserError, OSError)) or out_of_memory(error)):
                raise
            message = message_of(error, image_file.NO_MEMORY).removeprefix(f"{path}: ")
            tqdm.write(one_line(f"error: {path}: {message}"), sys.stderr)
            status = 1
    return status
