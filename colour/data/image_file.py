"""Read one picture from a file of a kind in ``STARTS``; HEIC if pillow-heif is installed."""

import ctypes
import functools
import io
import logging
import re
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
NO_MEMORY = "there is not enough memory for it: reduce it first"
TINT = 8  # of 255: what the channels of a picture without colour may differ by
# An MPO is a JPEG with previews, and PPM stands for all of PNM.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF", "PPM", "JPEG2000")
STARTS = {  # how files begin
    "a JPEG": rb"\xff\xd8\xff", "a PNG": rb"\x89PNG", "a WebP": rb"RIFF....WEBP", "a TIFF": rb"II[*+]\0|MM\0[*+]",
    "a BMP": rb"BM", "a GIF": rb"GIF8", "an AVIF": rb"....ftyp.*avi[fs]", "a HEIC": rb"....ftyp(hei|hev|mif|msf)",
    "a PNM": rb"P[1-6]\s", "a JPEG 2000": rb"\0\0\0\x0cjP|\xff\x4f\xff\x51"}
ADVICE = "convert it to PNG first"
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
            start = file.read(32)
            kind = next((kind for kind, pattern in STARTS.items() if re.match(pattern, start, re.DOTALL)), "")
            jpeg = start + file.read() if kind == "a JPEG" else b""
    except OSError as error:
        raise UserError(error.strerror) from error
    damaged = f"it is {kind or 'a picture'} of a rare kind, or damaged"
    with parsing(damaged, ADVICE):
        try:
            image = _decode(io.BytesIO(jpeg + JPEG_END) if jpeg else path, least)  # with an end, any part decodes
        except Image.DecompressionBombError as error:
            raise UserError(TOO_LARGE) from error
        except MemoryError as error:
            raise UserError(NO_MEMORY) from error
        except UnidentifiedImageError as error:
            if kind == "a HEIC" and "HEIF" not in _formats():
                raise UserError(f"it is a HEIC picture: pip install pillow-heif, or {ADVICE}") from error
            what = damaged if kind else "it is not a picture, or of a kind that is not read"
            raise UserError(f"{what}: {ADVICE}") from error
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
        elif image.format == "JPEG2000":
            _check_jpeg2000(image, source)
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
            or Tag.PhotometricInterpretation not in tags
            or image.mode.startswith("I;16") and tags[Tag.PhotometricInterpretation] != 1  # black is zero
            or image.mode == "P" and max(tags[Tag.ColorMap]) < 256):  # of 65,536
        raise UserError(f"it is a TIFF of a rare kind: {ADVICE}")


def _check_jpeg2000(image: Image.Image, path: str | Path) -> None:
    """Put the ICC profile, which Pillow leaves out, into ``info``; raise ``UserError`` for what Pillow reads wrong."""
    with open(path, "rb") as file:
        head = file.read(1 << 20)
    pixels = head.find(b"\xff\x4f\xff\x51")
    channels = head[pixels + 41]
    depths = set(head[pixels + 42:pixels + 42 + 3 * channels:3])  # bits less one; 128 more if signed
    rare = depths != {7} and not (image.mode == "I;16" and max(depths) < 16)
    if (box := head.find(b"colr", 0, pixels)) > 0:
        if head[box + 4] == 2:
            image.info["icc_profile"] = head[box + 7:box - 4 + int.from_bytes(head[box - 4:box], "big")]
        else:
            rare |= int.from_bytes(head[box + 7:box + 11], "big") not in (12, 16, 17, 18)  # CMYK, sRGB, grey, YCbCr
    if rare:
        raise UserError(f"it is a JPEG 2000 of a rare kind: {ADVICE}")


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
    if image.mode.startswith("I"):
        values, levels = np.asarray(image), np.round(np.arange(65536) / 257).astype(np.uint8)
        image = Image.fromarray(levels[values])
        if shade is not None:
            image.putalpha(Image.fromarray(values != shade))
    elif image.mode in ("P", "PA", "RGBa", "RGBX", "YCbCr"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif shade is not None or image.mode == "La":
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode == "F":
        raise UserError(f"its pixels are fractions: {ADVICE}")
    return image.convert("L") if image.mode == "1" else image


def _srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return a picture as RGB or RGBA, in sRGB by its ICC profile; a profile that is broken is ignored."""
    from PIL import ImageCms

    pixels = image.mode.removesuffix("A")
    space = "LAB" if pixels == "LAB" else PROFILES.get(profile[16:20])
    if (pixels, space) == ("RGB", "L") and not has_colour(np.asarray(image)):  # a WebP has no grey of its own
        pixels = "L"
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
