"""Read pictures from files, whatever their format and mode."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from colour.cli import UserError, brief

MAX_PIXELS = 50_000_000
TINT = 8  # of 255: what the channels of a picture without colour may differ by
# Films, data, and drawings that Pillow hands to another program (EPS runs Ghostscript): none of them is opened.
# Nor are textures (DDS) and FITS data: Pillow 11 reads minutes or gigabytes of them that are not there.
NOT_PICTURES = {"BUFR", "DDS", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}


def suffixes() -> set[str]:
    """The suffixes of the pictures that can be read, in lower case, such as ".jpg"."""
    kinds = {*_formats(), "MPO"}  # which is opened as a JPEG
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds}


def read(path: str | Path, least: int | None = None) -> Image.Image:
    """The first frame of a picture, upright, in 8 bits: mode RGB, or RGBA if any of it may be transparent.

    Numbers of 16 bits are divided by 257; floats and 32 bits by the white they suggest (see ``_bytes``).
    ``least`` allows a JPEG to be decoded at a half to an eighth of its size, if both its sides keep as
    many pixels: many times faster. Raises ``UserError`` if the picture has more than ``MAX_PIXELS``
    (before decoding) or cannot be decoded. Pillow's warnings are left to the caller, as
    ``warnings.catch_warnings`` is not for threads.
    """
    too_large = f"it has more than {MAX_PIXELS // 10**6} megapixels: reduce it first"
    try:
        with Image.open(path, formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(too_large)
            if least is not None:
                image.draft(None, (least, least))
            image.load()
            with suppress(Exception):  # damaged EXIF data say nothing of the pixels
                ImageOps.exif_transpose(image, in_place=True)
            profile = image.info.get("icc_profile") or b""
            image = _bytes(image)
    except Image.DecompressionBombError:
        raise UserError(too_large) from None
    except UnidentifiedImageError:
        raise UserError("it is not a picture that Pillow can read") from None
    except UserError:
        raise
    except Exception as error:  # damaged files fail in every way there is
        raise UserError(getattr(error, "strerror", None) or f"it is damaged ({brief(error)})") from error
    image.info = {"icc_profile": profile} if profile[16:20] == b"RGB " else {}
    return image


def has_colour(pixels: np.ndarray) -> bool:
    """Whether any pixel of RGB or RGBA (H, W, 3 or 4), uint8, is other than grey."""
    return bool(np.ptp(pixels[..., :3], axis=-1).max() > TINT)


def _formats() -> list[str]:
    Image.init()
    return [kind for kind in Image.ID if kind not in NOT_PICTURES]


def _bytes(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB or RGBA.

    White is 65535 in 16 bits. Floats and 32 bits have no agreed white: it is 1, 255 or 65535, the least
    that none of the values exceeds, or else the largest value.
    """
    if image.mode[0] in "IF":  # "I", "I;16", "I;16B", "F"
        white = 65535
        if ";" not in image.mode:
            high = image.getextrema()[1]
            white = next((white for white in (1, 255, 65535) if high <= white), high)
        image = image.convert("F").point(lambda value: value * (255 / white) + 0.5).convert("L")
        image.info.pop("transparency", None)
    elif image.mode == "LAB":
        from PIL import ImageCms

        image = ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"),
                                          outputMode="RGB")
    mode = "RGBA" if image.mode.endswith("A") or "transparency" in image.info else "RGB"
    return image if image.mode == mode else image.convert(mode)
