"""image_file: pixels mean what the file says, in every kind that is read; everything else is refused in one line."""

import io
import itertools
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from colour.data import image_file
from colour.system.cli import UserError
from colour.system.files import ROOT

WIDTH, HEIGHT = 37, 29
WHITE = struct.pack(">3i", *(round(value * 65536) for value in (0.9642, 1, 0.8249)))  # D50


def samples(count: int, bits: int = 8) -> np.ndarray:
    """Return numbers (HEIGHT, WIDTH, count) of all sizes: a ramp that differs from channel to channel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramps = np.stack([(7 * x + 3 * (i + 1) * y) % 256 / 255 for i in range(count)], axis=-1)
    return (ramps * (2**bits - 1)).round().astype(int)


def three(grey) -> np.ndarray:
    return np.repeat(np.asarray(grey).reshape(HEIGHT, WIDTH, 1), 3, axis=2)


# TIFF, by a writer of our own

CODES = {"B": 1, "H": 3, "I": 4}


def directory(tags: dict[int, tuple[str, list[int]]], at: int, following: int, order: str) -> bytes:
    """Return an image file directory that lies at ``at``; a value is a struct code and numbers."""
    entries, behind = b"", b""
    for tag, (code, values) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(data) > 4:
            place = at + 2 + 12 * len(tags) + 4 + len(behind)
            behind, data = behind + data, struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, CODES[code], len(values)) + data.ljust(4, b"\0")
    return struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", following) + behind


def packed(values: np.ndarray, bits: int, order: str) -> bytes:
    """Return rows of numbers (H, W), each row from a whole byte on."""
    if bits in (8, 16, 32):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    rows = ((values[..., None] >> np.arange(bits)[::-1]) & 1).reshape(len(values), -1)
    return np.packbits(rows, axis=1).tobytes()


def page(values: np.ndarray, bits: int, photometric: int, order: str = "<", planes: bool = False, extra=(),
         **more) -> tuple[dict, bytes]:
    """Return the tags and the pixels of numbers (H, W, S); ``more`` are tags by number, as t258."""
    height, width, count = values.shape
    strips = [packed(plane, bits, order) for plane in
              (np.moveaxis(values, -1, 0) if planes else [values.reshape(height, -1)])]
    tags = {256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * count), 259: ("H", [1]),
            262: ("H", [photometric]), 273: ("I", [0] * len(strips)), 277: ("H", [count]), 278: ("I", [height]),
            279: ("I", [len(strip) for strip in strips]), 284: ("H", [2 if planes else 1])}
    if extra:
        tags[338] = ("H", list(extra))
    tags |= {int(name[1:]): value for name, value in more.items()}
    return tags, b"".join(strips)


def tiff(*pages: tuple[dict, bytes], order: str = "<") -> bytes:
    """Return a file of pages, one after the other."""
    content = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    for number, (tags, pixels) in enumerate(pages):
        for _ in range(2):  # the size of the directory is known after the first time
            size = len(directory(tags, len(content), 0, order))
            lengths = tags[279][1]
            tags[273] = ("I", [len(content) + size + sum(lengths[:i]) for i in range(len(lengths))])
        end = len(content) + size + len(pixels)
        content += directory(tags, len(content), end if number < len(pages) - 1 else 0, order) + pixels
    return content


def eight(values: np.ndarray, bits: int) -> np.ndarray:
    return values * 255 / (2**bits - 1)


PHOTOMETRIC = {"white is zero": (0, 1), "black is zero": (1, 1), "RGB": (2, 3), "palette": (3, 1), "CMYK": (5, 4)}
BITS = {"white is zero": (1, 2, 4, 8, 16), "black is zero": (1, 2, 4, 8, 12, 16, 32), "palette": (1, 2, 4, 8)}
COMBINATIONS = [(kind, bits, order, planes, extra) for kind in PHOTOMETRIC for bits in BITS.get(kind, (8, 16))
                for order, planes, extra in itertools.product("<>", (False, True), (None, 0, 1, 2))]
# What must be read, not refused
READ = [*[(kind, bits, order, False, None) for kind in PHOTOMETRIC for bits in BITS.get(kind, (8, 16))
          for order in "<>" if (kind, bits) != ("white is zero", 16) and bits not in (12, 32)],
        *[("RGB", bits, order, False, extra) for bits in (8, 16) for order in "<>" for extra in (1, 2)]]


@pytest.mark.parametrize(("kind", "bits", "order", "planes", "extra"),
                         sorted({*COMBINATIONS[::7], *READ[::2]}, key=COMBINATIONS.index))
def test_tiff_is_right_or_refused(kind, bits, order, planes, extra, tmp_path):
    photometric, count = PHOTOMETRIC[kind]
    values, most = samples(count + (extra is not None), bits), 2**bits - 1
    shown, alpha = values[..., :count], values[..., count:]
    if extra == 1:  # colours multiplied by alpha
        alpha = np.maximum(alpha, -(-most // 2))
        values = np.concatenate([(shown * alpha / most).round().astype(int), alpha], axis=-1)
    colours = np.random.default_rng(0).integers(0, 256, (3, 2**min(bits, 8)))
    expected = {"palette": lambda: colours[:, shown[..., 0]].transpose(1, 2, 0),
                "white is zero": lambda: three(255 - eight(shown, bits)),
                "black is zero": lambda: three(eight(shown, bits)),
                "RGB": lambda: eight(shown, bits),
                "CMYK": lambda: (255 - eight(shown[..., :3], bits)) * (255 - eight(shown[..., 3:], bits)) / 255}[kind]()
    more = {"t320": ("H", (colours * 257).ravel().tolist())} if kind == "palette" else {}
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(page(values, bits, photometric, order, planes, () if extra is None else (extra,), **more),
                          order=order))
    try:
        image = image_file.read(path)
    except UserError as error:
        assert "convert it to PNG first" in str(error) and "\n" not in str(error)
        assert (kind, bits, order, planes, extra) not in READ
        return
    pixels = np.asarray(image, dtype=int)
    tolerance = {1: 4}.get(extra, 2 if kind == "CMYK" else 1)
    assert abs(pixels[..., :3] - expected).max() <= tolerance
    assert pixels.shape[2] == (4 if extra in (1, 2) else 3)
    if extra in (1, 2):
        assert abs(pixels[..., 3:] - eight(alpha, bits)).max() <= 1


@pytest.mark.parametrize(("bits", "more"), [
    (8, {"t339": ("H", [2])}), (16, {"t339": ("H", [2])}), (32, {}), (32, {"t339": ("H", [2])}),
    (32, {"t339": ("H", [3])}), (12, {})], ids=["signed 8", "signed 16", "32", "signed 32", "floats", "12"])
def test_numbers_without_white_are_refused(bits, more, tmp_path):
    for photometric, order in itertools.product((0, 1), "<>"):
        values = samples(1, min(bits, 16))
        (tmp_path / "a.tif").write_bytes(tiff(page(values, bits, photometric, order, **more), order=order))
        with pytest.raises(UserError, match="convert it to PNG first"):
            image_file.read(tmp_path / "a.tif")


def test_the_largest_page_is_read(tmp_path):
    large, small = samples(3), samples(3)[::4, ::4]
    path = tmp_path / "a.tif"
    for pages in ([small, large], [small, large, small], [large, small]):
        path.write_bytes(tiff(*(page(pixels, 8, 2) for pixels in pages)))
        assert (np.asarray(image_file.read(path)) == large).all()
    path.write_bytes(tiff(page(large, 8, 2), page(255 - large, 8, 2)))
    assert (np.asarray(image_file.read(path)) == large).all()  # the first of equal size


def without(tag: int, part: tuple[dict, bytes]) -> tuple[dict, bytes]:
    del part[0][tag]
    return part


BYTES = ("H", [i % 256 for i in range(768)])  # a palette should have 16 bits


@pytest.mark.parametrize("part, order, said", [
    (page(samples(3), 8, 2, t254=("I", [1])), "<", "only a thumbnail"),  # as in a DNG, whose picture is elsewhere
    (page(samples(4), 8, 5, t332=("H", [2])), "<", "a TIFF of a rare kind"),  # other inks than CMYK
    (page(samples(1, 16), 16, 0, "<"), "<", "a TIFF of a rare kind"),  # white is zero
    (page(samples(1, 16), 16, 0, ">"), ">", "a TIFF of a rare kind"),
    (page(samples(1), 8, 3, t320=BYTES), "<", "a TIFF of a rare kind"),
    (without(262, page(samples(1), 8, 1)), "<", "a TIFF of a rare kind"),  # is zero black or white?
    (without(262, page(samples(3), 8, 2)), "<", "a TIFF of a rare kind"),
    (page(samples(5), 8, 77), "<", "a TIFF of a rare kind")])
def test_rare_tiffs_are_refused(part, order, said, tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(part, order=order))
    with pytest.raises(UserError, match=f"{said}.*: convert it to PNG first"):
        image_file.read(tmp_path / "a.tif")


# PNG, by a writer of our own


def png(values: np.ndarray, bits: int, kind: int, **chunks: bytes) -> bytes:
    """Return a PNG of numbers (H, W, S); ``kind`` is its colour type, ``chunks`` come before the pixels."""
    height, width, count = values.shape
    rows = packed(values.reshape(height, -1), bits, ">")
    step = len(rows) // height
    pixels = zlib.compress(b"".join(b"\0" + rows[i:i + step] for i in range(0, len(rows), step)))
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *((name.encode(), data) for name, data in chunks.items()), (b"IDAT", pixels),
             (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + name + data
                                          + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts)


PNGS = [(0, bits, 1, shade) for bits in (1, 2, 4, 8, 16) for shade in (False, True)] + [
    (2, bits, 3, shade) for bits in (8, 16) for shade in (False, True)] + [
    (3, bits, 1, shade) for bits in (1, 2, 4, 8) for shade in (False, True)] + [
    (4, 8, 2, False), (4, 16, 2, False), (6, 8, 4, False), (6, 16, 4, False)]


@pytest.mark.parametrize(("kind", "bits", "count", "transparent"), PNGS)
def test_png(kind, bits, count, transparent, tmp_path):
    """Every colour type and depth, with and without a transparent shade."""
    values, chunks = samples(count, bits), {}
    shade = values[3, 5]
    shown, alpha = eight(values, bits), None
    if kind == 3:
        colours = np.random.default_rng(0).integers(0, 256, (2**bits, 3), dtype=np.uint8)
        chunks["PLTE"], shown = colours.tobytes(), colours[values[..., 0]]
        if transparent:
            levels = np.random.default_rng(1).integers(0, 256, 2**bits, dtype=np.uint8)
            chunks["tRNS"], alpha = levels.tobytes(), levels[values[..., 0]]
    elif transparent:
        chunks["tRNS"] = struct.pack(f">{count}H", *shade)
        alpha = np.where((values == shade).all(axis=2), 0, 255)
    elif kind in (4, 6):
        shown, alpha = shown[..., :-1], shown[..., -1]
    (tmp_path / "a.png").write_bytes(png(values, bits, kind, **chunks))
    image = image_file.read(tmp_path / "a.png")
    pixels = np.asarray(image, dtype=int)
    assert image.mode == ("RGB" if alpha is None else "RGBA")
    assert abs(pixels[..., :3] - (three(shown) if kind in (0, 4) else shown)).max() <= 1
    if alpha is not None:
        assert abs(pixels[..., 3] - alpha).max() <= 1


def test_large_texts_do_not_matter(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "a" * 2_000_000, zip=True)
    Image.fromarray(samples(3).astype(np.uint8)).save(tmp_path / "a.png", pnginfo=text)
    assert (np.asarray(image_file.read(tmp_path / "a.png")) == samples(3)).all()


# JPEG


def jpeg(**options) -> bytes:
    file = io.BytesIO()
    y, x = np.mgrid[:128, :192]
    Image.fromarray(np.stack([x, y, x + y], axis=-1).astype(np.uint8)).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0},
                                     {"exif": b"Exif\0\0\xff\xd9\xff\xda"}])
@pytest.mark.parametrize("missing", [1, 2, 3, 20])
def test_a_jpeg_without_its_end(options, missing, tmp_path):
    (tmp_path / "whole.jpg").write_bytes(jpeg(**options))
    (tmp_path / "cut.jpg").write_bytes(jpeg(**options)[:-missing])
    whole, cut = image_file.read(tmp_path / "whole.jpg"), image_file.read(tmp_path / "cut.jpg")
    assert "warning" not in whole.info and "truncated" in cut.info["warning"]
    same = np.asarray(whole)[:96] == np.asarray(cut)[:96]  # the last rows of blocks may have gone
    assert same.all() and (missing > 2 or (np.asarray(whole) == np.asarray(cut)).all())


def test_half_a_jpeg_is_half_a_picture(tmp_path):
    (tmp_path / "whole.jpg").write_bytes(jpeg())
    (tmp_path / "cut.jpg").write_bytes(jpeg()[:len(jpeg()) * 2 // 3])
    whole, cut = (np.asarray(image_file.read(tmp_path / name), dtype=int) for name in ("whole.jpg", "cut.jpg"))
    assert (whole[:48] == cut[:48]).all() and np.ptp(cut[-1], axis=0).max() <= 4  # what is missing is plain


def test_a_jpeg_without_pixels_is_refused(tmp_path):
    start = jpeg().rfind(b"\xff\xda")
    for length in (start + 14, start + 2, start, 30, 3):
        (tmp_path / "cut.jpg").write_bytes(jpeg()[:length])
        with pytest.raises(UserError):
            image_file.read(tmp_path / "cut.jpg")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif(tmp_path):
    Image.fromarray(samples(3).astype(np.uint8)).save(tmp_path / "a.jpg",
                                                      exif=b"Exif\0\0II*\0\xff\xff\xff\xff nonsense")
    assert image_file.read(tmp_path / "a.jpg").size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("resolution", [(0, 0), (1, 0), (0, 1), (2**32 - 1, 1), (1, 2**32 - 1)])
def test_impossible_resolution(resolution, tmp_path):
    tags = {f"t{tag}": ("I", list(resolution)) for tag in (282, 283)}
    content = tiff(page(samples(3), 8, 2, t296=("H", [2]), **tags))
    for tag in 282, 283:  # a fraction, not two numbers
        content = content.replace(struct.pack("<HHI", tag, 4, 2), struct.pack("<HHI", tag, 5, 1))
    (tmp_path / "a.tif").write_bytes(content)
    image = image_file.read(tmp_path / "a.tif")
    image.save(tmp_path / "a.png", **image.info)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == samples(3)).all()


def test_large_jpeg_is_decoded_small(tmp_path):
    """To a half, a quarter or an eighth, which keeps at least as many pixels on both sides as asked for."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((2000, 1500))
    image.save(tmp_path / "a.jpg", quality=95)
    small = image_file.read(tmp_path / "a.jpg", least=96)
    assert small.size == (250, 188) and image_file.read(tmp_path / "a.jpg").size == (2000, 1500)
    difference = np.asarray(small, dtype=int) - np.asarray(image.resize((250, 188), Image.Resampling.BOX))
    assert abs(difference).mean() < 2


# Profiles


def icc_profile(space: bytes, connection: bytes, **parts: bytes) -> bytes:
    """Return a small ICC profile for pixels of ``space``, with what leads to the ``connection`` space."""
    parts = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"ours\0" + bytes(78),
             b"wtpt": b"XYZ \0\0\0\0" + WHITE, b"cprt": b"text\0\0\0\0none\0\0\0\0",
             **{name.encode(): data for name, data in parts.items()}}
    table, body, at = struct.pack(">I", len(parts)), b"", 132 + 12 * len(parts)
    for name, data in parts.items():
        data += bytes(-len(data) % 4)
        table, body = table + name + struct.pack(">II", at + len(body), len(data)), body + data
    head = struct.pack(">I", at + len(body)) + b"lcms\2\x40\0\0" + (b"mntr" if space == b"GRAY" else b"prtr")
    head += space + connection + bytes(12) + b"acsp" + bytes(28) + WHITE
    return head.ljust(128, b"\0") + table + body


def grey_profile(gamma: float) -> bytes:
    return icc_profile(b"GRAY", b"XYZ ", kTRC=b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0))


def cmyk_profile() -> bytes:
    """Return a profile of grey inks: black takes all of the light away, each of the others a third."""
    straight = bytes(range(256))
    corners = b"".join(bytes([max(0, 255 - 255 * k - 85 * (c + m + y)), 128, 128])
                       for c, m, y, k in itertools.product((0, 1), repeat=4))
    matrix = struct.pack(">9i", *(value << 16 for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    return icc_profile(b"CMYK", b"Lab ", A2B0=b"mft1\0\0\0\0\4\3\2\0" + matrix + 4 * straight + corners + 3 * straight)


def srgb_of_linear(value: np.ndarray) -> np.ndarray:
    """Return levels of sRGB for levels of light (IEC 61966-2-1)."""
    light = np.asarray(value) / 255
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light**(1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.jp2", "alpha.png", "alpha.webp",
                                  "sixteen.png"])
def test_a_grey_profile(name, tmp_path):
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None], 16, axis=0)
    image = Image.fromarray(levels)
    if "alpha" in name:
        image = Image.merge("LA", (image, image))
    elif name == "sixteen.png":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    image.save(tmp_path / name, icc_profile=grey_profile(1.0), quality=100)
    if name == "a.jp2":
        (tmp_path / name).write_bytes(with_profile((tmp_path / name).read_bytes(), grey_profile(1.0)))
    read = image_file.read(tmp_path / name)
    pixels = np.asarray(read, dtype=float)
    assert "icc_profile" not in read.info
    assert abs(pixels[8, :, :3] - srgb_of_linear(levels[8])[:, None])[8:].max() <= 6  # JPEG and 8 bits are coarse
    if "alpha" in name:
        assert (pixels[..., 3] == levels).all()


def with_profile(jp2: bytes, profile: bytes) -> bytes:
    """Return a JPEG 2000 whose box of its colour space holds a profile instead."""
    start = jp2.index(b"colr") - 4
    box = struct.pack(">I4s3B", 11 + len(profile), b"colr", 2, 0, 0) + profile
    header = jp2.index(b"jp2h") - 4
    size = struct.unpack(">I", jp2[header:header + 4])[0] + len(box) - 15
    return jp2[:header] + struct.pack(">I", size) + jp2[header + 4:start] + box + jp2[start + 15:]


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def linear_rgb() -> bytes:
    """Return sRGB's profile with its curves replaced by straight ones."""
    profile = bytearray(srgb())
    for i in range(struct.unpack(">I", profile[128:132])[0]):
        name, at, _ = struct.unpack(">4sII", profile[132 + 12 * i:144 + 12 * i])
        if name in (b"rTRC", b"gTRC", b"bTRC"):  # a parametric curve: type 0 is x**gamma
            profile[at:at + 16] = b"para\0\0\0\0" + struct.pack(">HHi", 0, 0, 1 << 16)
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_an_rgb_profile(mode, tmp_path):
    levels = samples(3).astype(np.uint8)
    image = Image.fromarray(levels).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    for profile, right in (srgb(), expected), (linear_rgb(), srgb_of_linear(expected)):
        image.save(tmp_path / "a.png", icc_profile=profile)
        pixels = np.asarray(image_file.read(tmp_path / "a.png"), dtype=int)
        assert abs(pixels[..., :3] - right).max() <= 2


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_a_cmyk_profile(name, tmp_path):
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None], 16, axis=0)
    none = np.zeros_like(levels)
    for inks, darkest in ((none, none, none, levels), 1), ((levels, none, none, none), 1 / 3):
        lightness = (1 - darkest * levels[8] / 255) * 100
        light = np.where(lightness > 8, ((lightness + 16) / 116)**3, lightness / 903.3)  # CIE 1976
        Image.merge("CMYK", [Image.fromarray(ink) for ink in inks]).save(tmp_path / name, quality=100,
                                                                        icc_profile=cmyk_profile())
        pixels = np.asarray(image_file.read(tmp_path / name), dtype=float)
        assert abs(pixels[8] - srgb_of_linear(255 * light)[:, None]).max() <= 5


@pytest.mark.parametrize("mode, space", [("RGB", b"GRAY"), ("CMYK", b"RGB "), ("L", b"CMYK"), ("RGB", b"Lab ")])
def test_a_profile_for_other_pixels_is_ignored(mode, space, tmp_path):
    image = Image.fromarray(samples(3).astype(np.uint8)).convert(mode)
    profile = grey_profile(1) if space == b"GRAY" else srgb().replace(b"RGB XYZ ", space + b"XYZ ", 1)
    image.save(tmp_path / "a.tif", icc_profile=profile)
    assert (np.asarray(image_file.read(tmp_path / "a.tif")) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("profile", [b"nonsense", srgb()[:200], srgb()[:-40], bytes(128), b"\xff" * 3000])
def test_a_broken_profile_is_ignored(profile, tmp_path):
    pixels = samples(3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
    assert abs(np.asarray(image_file.read(tmp_path / "a.png"), dtype=int) - pixels).max() <= 2


def test_lab(tmp_path):
    """Lightness 0 to 100 % without colour is read as grey from black to white."""
    lab = np.zeros((20, 256, 3), np.uint8)
    lab[..., 0] = np.arange(256)
    Image.frombytes("LAB", (256, 20), lab.tobytes()).save(tmp_path / "lab.tif")
    rgb = np.asarray(image_file.read(tmp_path / "lab.tif"), dtype=int)
    assert np.ptp(rgb, axis=-1).max() <= 4 and rgb[0, 0].max() <= 4 and rgb[0, -1].min() >= 251
    assert (np.diff(rgb.mean(axis=-1)) >= 0).all()


# What stays, what is refused, what is said


@pytest.mark.parametrize("orientation, upright", [
    (1, lambda x: x), (2, np.fliplr), (3, lambda x: np.rot90(x, 2)), (4, np.flipud), (5, lambda x: x.swapaxes(0, 1)),
    (6, lambda x: np.rot90(x, -1)), (7, lambda x: np.rot90(x.swapaxes(0, 1), 2)), (8, np.rot90)])
def test_orientation_of_the_camera(orientation, upright, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(samples(3).astype(np.uint8)).save(tmp_path / "a.png", exif=exif)
    image = image_file.read(tmp_path / "a.png")
    assert (np.asarray(image) == upright(samples(3))).all() and "exif" not in image.info


@pytest.mark.parametrize("name, mode, options, tolerance", [
    ("a.bmp", "RGB", {}, 0), ("a.webp", "RGB", {"lossless": True}, 0), ("a.jpg", "CMYK", {"quality": 95}, 8),
    ("a.gif", "P", {"save_all": True, "append_images": [Image.new("P", (WIDTH, HEIGHT))]}, 0),
    ("a.tif", "1", {"compression": "group4"}, 0), ("a.tif", "YCbCr", {"compression": "jpeg"}, 8),
    ("a.tif", "RGB", {"compression": "tiff_lzw"}, 0), ("a.tif", "RGB", {"compression": "tiff_adobe_deflate"}, 0),
    ("a.pbm", "1", {}, 0), ("a.pgm", "L", {}, 0), ("a.ppm", "RGB", {}, 0), ("a.pnm", "L", {}, 0),
    *((f"a.{suffix}", mode, {}, 2) for suffix in ("jp2", "j2k") for mode in ("L", "LA", "RGB", "RGBA")),
    ("a.jp2", "YCbCr", {}, 2), ("a.jp2", "CMYK", {}, 2)])
def test_other_formats_and_compressions(name, mode, options, tolerance, tmp_path):
    """Of an animation, the first frame is read."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = Image.fromarray(np.stack([6 * x, 8 * y, 200 - 3 * x], axis=-1).astype(np.uint8)).convert(mode)
    image.save(tmp_path / name, **options)
    pixels = np.asarray(image_file.read(tmp_path / name).convert("RGB"), dtype=int)
    assert abs(pixels - np.asarray(image.convert("RGB"))).max() <= tolerance


@pytest.mark.parametrize("start, values", [
    (b"P1\n# a comment\n3 1\n", [255, 0, 255]), (b"P2 3 1 9\n", [0, 28, 255]), (b"P3 1 1 255\n", [[0, 1, 9]]),
    (b"P5 3 1 65535\n", [0, 128, 255]), (b"P2 3 1 65535\n", [0, 128, 255]), (b"P6 1 1 65535\n", [[0, 128, 255]])])
def test_pnm(start, values, tmp_path):
    written = {b"P1": b"0 1 0", b"P2": b"0 1 9", b"P3": b"0 1 9"}.get(start[:2], b"\0\0\x80\x80\xff\xff")
    if start.startswith(b"P2") and b"65535" in start:
        written = b"0 32896 65535"
    (tmp_path / "a.pnm").write_bytes(start + written)
    expected = np.array([values]) if np.ndim(values) == 2 else np.repeat(np.array(values)[None, :, None], 3, axis=2)
    assert (np.asarray(image_file.read(tmp_path / "a.pnm")) == expected).all()


def test_deep_grey_jpeg2000(tmp_path):
    values = samples(1, 16)
    Image.fromarray(values[..., 0].astype(np.uint16)).save(tmp_path / "a.jp2")
    assert abs(np.asarray(image_file.read(tmp_path / "a.jp2"), dtype=int) - three(values / 257)).max() <= 1


@pytest.mark.parametrize("change", [(b"\x07\1\1\x07", b"\x0f\1\1\x0f"), (b"\x07\1\1\x07", b"\x87\1\1\x87"),
                                    (b"colr\1\0\0\0\0\0\x10", b"colr\1\0\0\0\0\0\x0e")])
def test_rare_jpeg2000s_are_refused(change, tmp_path):
    """Of 16 bits in colour, signed, in LAB."""
    Image.fromarray(samples(3).astype(np.uint8)).save(tmp_path / "a.jp2")
    (tmp_path / "a.jp2").write_bytes((tmp_path / "a.jp2").read_bytes().replace(*change))
    with pytest.raises(UserError, match="a JPEG 2000 of a rare kind: convert"):
        image_file.read(tmp_path / "a.jp2")


def test_fractions_are_refused(tmp_path):
    (tmp_path / "a.pfm").write_bytes(b"Pf\n1 1\n-1\n" + struct.pack("<f", 0.5))
    with pytest.raises(UserError, match="fractions: convert"):
        image_file.read(tmp_path / "a.pfm")


@pytest.mark.parametrize("width, height", [(60_000, 60_000), (10_000, 5001), (50_000_001, 1)])
def test_large_pictures_are_refused(width, height, tmp_path):
    """Before their pixels are decoded, of which this file has none."""
    content = png(np.zeros((1, 1, 3), int), 8, 2).replace(struct.pack(">II", 1, 1), struct.pack(">II", width, height))
    (tmp_path / "a.png").write_bytes(content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:])
    with pytest.raises(UserError, match="more than 50 megapixels: reduce it first"):
        image_file.read(tmp_path / "a.png")


def test_a_picture_of_the_largest_size_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 64)
    for width in 8, 9:
        Image.new("RGB", (width, 8)).save(tmp_path / f"{width}.png")
    assert image_file.read(tmp_path / "8.png").size == (8, 8)
    with pytest.raises(UserError, match="reduce it first"):
        image_file.read(tmp_path / "9.png")


def test_nearly_grey_has_no_colour():
    pixels = samples(1).repeat(4, axis=2).astype(np.uint8) // 2
    pixels[..., 3] = 255  # alpha is no colour
    assert not image_file.has_colour(pixels) and not image_file.has_colour(pixels[..., :3])
    pixels[3, 5, 1] += 8
    assert not image_file.has_colour(pixels)
    pixels[3, 5, 1] += 1
    assert image_file.has_colour(pixels)


def test_missing_picture(tmp_path):
    with pytest.raises(UserError, match="^No such file or directory$"):
        image_file.read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_what_stays(suffix, tmp_path):
    exif = Image.Exif()
    exif.update({270: "A horse", 271: "Maker", 272: "Model", 274: 6, 306: "2020:01:02 03:04:05"})
    if suffix != "tif":  # where Pillow cannot write them
        exif[0x8769] = {36867: "1999:01:02 03:04:05", 40962: 9, 40963: 9}
        exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    Image.fromarray(samples(3).astype(np.uint8)).save(tmp_path / f"a.{suffix}", exif=exif, dpi=(300, 300))
    image = image_file.read(tmp_path / f"a.{suffix}")
    assert image.size == (HEIGHT, WIDTH)  # turned
    image.save(tmp_path / "result.png", **image.info)
    with Image.open(tmp_path / "result.png") as result:
        kept = result.getexif()
        assert {tag: kept.get(tag) for tag in (270, 271, 272, 306)} == {
            270: "A horse", 271: "Maker", 272: "Model", 306: "2020:01:02 03:04:05"}
        assert not kept.keys() & {273, 274, 279}  # neither the orientation nor where a TIFF had its pixels
        if suffix != "tif":
            assert kept.get_ifd(0x8769) == {36867: "1999:01:02 03:04:05"} and kept.get_ifd(0x8825)[1] == "N"
        if suffix != "webp":
            assert [round(value) for value in result.info["dpi"]] == [300, 300]


@pytest.mark.parametrize("kind", ["TGA", "ICO", "PCX", "SGI"])
def test_other_formats_are_refused(kind, tmp_path):
    Image.fromarray(samples(3).astype(np.uint8)).save(tmp_path / "a.jpg", kind)
    with pytest.raises(UserError, match="not a picture, or of a kind that is not read: convert it to PNG first"):
        image_file.read(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind, start", [
    ("a JPEG", b"\xff\xd8\xff\xe0"), ("a PNG", b"\x89PNG\r\n\x1a\n"), ("a WebP", b"RIFF\0\0\0\0WEBPVP8 "),
    ("a TIFF", b"II*\0"), ("a TIFF", b"MM\0+"), ("a BMP", b"BM\0\0"), ("a GIF", b"GIF89a"), ("a PNM", b"P6 1"),
    ("an AVIF", b"\0\0\0\x1cftypavif"), ("an AVIF", b"\0\0\0\x1cftypmif1\0\0\0\0avif"),
    ("a HEIC", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"), ("a JPEG 2000", b"\xff\x4f\xff\x51")])
def test_a_picture_that_cannot_be_opened_is_told_what_it_is(kind, start, tmp_path, monkeypatch):
    def fail(file, name):
        raise SyntaxError  # as openers do

    (tmp_path / "a.jpg").write_bytes(start + bytes(99))
    formats = [name for name in image_file._formats() if name != "HEIF"]
    if kind == "a HEIC":
        monkeypatch.setattr(image_file, "_formats", lambda: formats)
        with pytest.raises(UserError, match="it is a HEIC picture: pip install pillow-heif, or convert it"):
            image_file.read(tmp_path / "a.jpg")
    monkeypatch.setattr(image_file, "_formats", lambda: [*formats, "HEIF"])
    monkeypatch.setitem(Image.OPEN, "HEIF", (fail, None))
    with pytest.raises(UserError, match=f"it is {kind} of a rare kind, or damaged.*: convert it to PNG first"):
        image_file.read(tmp_path / "a.jpg")


def test_unsupported_bmp(tmp_path):
    """A BMP with 4 bits a channel, as it was written, is in order."""
    masks = struct.pack("<4I", 15 << 8, 15 << 4, 15, 15 << 12)
    header = struct.pack("<IiiHHIIiiII", 56, 4, 4, 1, 16, 3, 32, 2835, 2835, 0, 0) + masks
    start = 14 + len(header)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", start + 32, 0, 0, start) + header + bytes(32))
    with pytest.raises(UserError, match="a BMP of a rare kind.*: convert it to PNG first"):
        image_file.read(tmp_path / "a.bmp")


def test_libtiff_prints_nothing(tmp_path):
    """Not even for a fax with bad rows, which would be many lines on the descriptor of standard error."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).random((400, 300)) < 0.5).save(file, "TIFF", compression="group3")
    content = bytearray(file.getvalue())
    for at in range(600, 3000, 97):
        content[at:at + 4] = b"\x01\xff\x00\xaa"
    (tmp_path / "a.tif").write_bytes(content)
    code = """if True:
        import sys
        from colour.data import image_file
        from colour.system.cli import UserError
        try:
            print(image_file.read(sys.argv[1]).size)
        except UserError as error:
            print(error)"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.tif"], capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stderr == "" and ("(300, 400)" in done.stdout or "damaged" in done.stdout)
