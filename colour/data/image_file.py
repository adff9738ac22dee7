"""Read one picture from a file: JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF, and HEIC if pillow-heif is installed."""

import ctypes
import functools
import io
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import IFD
from PIL.ExifTags import Base as Tag

from colour.system.cli import UserError
from colour.system.untrusted import parsing, skipping_damage

MAX_PIXELS = 50_000_000
TOO_LARGE = f"it has more than {MAX_PIXELS // 10**6} megapixels: reduce it first"
TINT = 8  # of 255: what the channels of a picture without colour may differ by
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")  # an MPO is a JPEG with previews
ADVICE = "convert it to PNG first"
JPEG_START = b"\xff\xd8\xff"
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"  # start of pixels, end of picture; neither occurs among the pixels
SCAN_HEADER = 16  # bytes: a scan that is not longer has no pixels
# In PNGs of these raw modes, Pillow brings the pixels to 8 bits but not the transparent shade: the factors do.
SHADES = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
PROFILES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}  # the mode of the pixels that an ICC profile describes
KEPT = (Tag.ImageDescription, Tag.Make, Tag.Model, Tag.DateTime, Tag.Artist, Tag.Copyright)
OUTDATED = (Tag.ColorSpace, Tag.ExifImageWidth, Tag.ExifImageHeight, IFD.Interop)  # facts of the original file


def suffixes() -> set[str]:
    """Return the suffixes of the pictures that can be read, in lower case, such as ".jpg"."""
    kinds = _formats()
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds}


def read(path: str | Path, least: int | None = None) -> Image.Image:
    """Read the first frame of a picture, or the largest page of a TIFF: upright, in sRGB with 8 bits.

    The mode is RGB, or RGBA if any of it may be transparent. Its ``info`` has what can be handed to ``Image.save``,
    "exif" and "dpi", and a "warning" if the file has faults but most of its pixels.
    ``least`` allows a JPEG to be decoded at a half to an eighth of its size, many times faster, if both its sides keep
    as many pixels. Raises ``UserError`` if the picture has more than ``MAX_PIXELS`` (before decoding), is of a kind
    that is not read, or cannot be decoded. Pillow's warnings are left to the caller.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(12)
            jpeg = start + file.read() if start.startswith(JPEG_START) else b""
    except OSError as error:
        raise UserError(error.strerror) from error
    with parsing("it is damaged or of a rare kind", ADVICE):
        try:
            image = _decode(io.BytesIO(jpeg + JPEG_END) if jpeg else path, least)  # with an end, any part decodes
        except Image.DecompressionBombError as error:
            raise UserError(TOO_LARGE) from error
        except UnidentifiedImageError as error:
            heic = start[4:11] in (b"ftyphei", b"ftyphev", b"ftypmif")
            kind = ("a HEIC picture: pip install pillow-heif, or " if heic else
                    "not a picture, or of a rare kind (JPEG, PNG, WebP, TIFF, BMP, GIF and AVIF are read): ")
            raise UserError(f"it is {kind}{ADVICE}") from error
    scan = jpeg.find(JPEG_SCAN, jpeg.rfind(JPEG_END) + 1)  # one without an end; what ends before is a preview
    if scan >= 0:
        if len(jpeg) - scan <= SCAN_HEADER:
            raise UserError("it is truncated before its first pixel: copy it again")
        image.info["warning"] = "it is truncated: what is missing is grey"
    return image


def has_colour(pixels: np.ndarray) -> bool:
    """Tell whether any pixel of RGB or RGBA (H, W, 3 or 4), uint8, is other than grey."""
    return bool(np.ptp(pixels[..., :3], axis=-1).max() > TINT)


@functools.cache
def _formats() -> list[str]:
    """Prepare Pillow on the first call; return its names of the formats that are read."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # else it prints what it finds wrong in a file
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # 64 MB; generators of pictures write long texts
    with suppress(AttributeError, OSError):  # libtiff prints a line for every fault, unless it is a part of Pillow
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
    return [kind for kind in FORMATS if kind in Image.OPEN]


def _decode(source: str | Path | io.BytesIO, least: int | None) -> Image.Image:
    with Image.open(source, formats=_formats()) as image:
        if image.format == "TIFF":
            _choose_page(image)
        if image.width * image.height > MAX_PIXELS:
            raise UserError(TOO_LARGE)
        if image.format == "PNG" and "transparency" in image.info and image.tile[0].args in SHADES:
            scale, shade = SHADES[image.tile[0].args], image.info["transparency"]
            image.info["transparency"] = (tuple(int(value * scale) for value in shade) if isinstance(shade, tuple)
                                          else shade * scale)
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        kept = _kept(image)
        with skipping_damage():  # EXIF data that are damaged say nothing about the pixels
            ImageOps.exif_transpose(image, in_place=True)
        image = _srgb(_eight_bits(image), image.info.get("icc_profile") or b"")
    image.info = kept
    return image


def _choose_page(image: TiffImagePlugin.TiffImageFile) -> None:
    """Go to the largest page of a TIFF; raise ``UserError`` for a thumbnail and for what Pillow reads wrong."""
    sizes = [page.width * page.height for page in ImageSequence.Iterator(image)]
    image.seek(sizes.index(max(sizes)))
    tags = image.tag_v2
    if tags.get(Tag.NewSubfileType, 0) & 1:
        raise UserError(f"it shows only a thumbnail of the picture: {ADVICE}")
    if (not set(tags.get(Tag.BitsPerSample, ())) <= {1, 2, 4, 8, 16}
            or not set(tags.get(Tag.SampleFormat, ())) <= {1}  # unsigned, neither signed nor floats
            or tags.get(Tag.InkSet, 1) != 1  # CMYK, no other inks
            or tags.get(Tag.PlanarConfiguration, 1) != 1  # the channels of a pixel together
            or image.mode.startswith("I;16") and tags.get(Tag.PhotometricInterpretation) != 1):  # black is zero
        raise UserError(f"it is a TIFF of a rare kind: {ADVICE}")


def _kept(image: Image.Image) -> dict:
    """Return who took the picture, when and with what, and its resolution, as options of ``Image.save``."""
    kept = {}
    with skipping_damage():
        if "dpi" in image.info and all(0 < value < 1e6 for value in image.info["dpi"]):
            kept["dpi"] = image.info["dpi"]
    with skipping_damage():
        old, new = image.getexif(), Image.Exif()
        new.update({tag: old[tag] for tag in KEPT if tag in old})
        for part in IFD.Exif, IFD.GPSInfo:
            if values := {tag: value for tag, value in old.get_ifd(part).items() if tag not in OUTDATED}:
                new[part] = values
        if new:
            kept["exif"] = new.tobytes()
    return kept


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture in one of the modes L, LA, RGB, RGBA, CMYK and LAB."""
    shade = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        values, levels = np.asarray(image), np.round(np.arange(65536) / 257).astype(np.uint8)
        image = Image.fromarray(levels[values])
        if shade is not None:
            image.putalpha(Image.fromarray(values != shade))
    elif image.mode in ("P", "PA", "RGBa", "RGBX", "YCbCr"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif shade is not None or image.mode == "La":
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    return image.convert("L") if image.mode == "1" else image


def _srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return a picture as RGB or RGBA, in sRGB by its ICC profile; a profile that is broken is ignored."""
    from PIL import ImageCms

    pixels = image.mode.removesuffix("A")
    space = "LAB" if pixels == "LAB" else PROFILES.get(profile[16:20])
    mode = "RGBA" if image.mode in ("LA", "RGBA") else "RGB"
    if pixels == space or (pixels, space) == ("L", "RGB"):
        source = ImageCms.createProfile("LAB") if space == "LAB" else io.BytesIO(profile)
        with suppress(ImageCms.PyCMSError):
            converted = ImageCms.profileToProfile(image if image.mode == space else image.convert(space), source,
                                                  ImageCms.createProfile("sRGB"), outputMode="RGB")
            if mode == "RGBA":
                converted.putalpha(image.getchannel("A"))
            return converted
    return image if image.mode == mode else image.convert(mode)
