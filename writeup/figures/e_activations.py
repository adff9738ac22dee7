"""E: two channels of each block for three horses, and how much brightness and colour each block holds."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from activations import capture
from colour.decode import most_probable
from colour.palette import Palette
from colour.pixels import grey_of, to_rgb
from writeup.figures.common import RULE, Horses, Values, code, heat, load_shipped, save_row, save_table

CLOSE_UP = [7, 1, 6]  # test horses


def make(values: Values, horses: Horses) -> None:
    rgb = to_rgb(horses.valid.images[:200])
    grey = grey_of(rgb)
    networks = {stem: load_shipped(f"{stem}_k3_f32", horses.palette)[0] for stem in ("cnn", "unet")}
    table_of_shares(values, networks, rgb)
    for stem, network in networks.items():
        for block, maps in capture(network, grey[CLOSE_UP])[1].items():
            save_row(f"act_{stem}_{block}", tiles(maps, horses.palette if block == "finalconv" else None), scale=3)
    for index in CLOSE_UP:
        save_row(f"horse_{index}", [grey[index], rgb[index]], scale=3)


def tiles(maps: torch.Tensor, palette: Palette | None) -> list[torch.Tensor]:
    """Draw two channels of each picture of (N, C, h, w), each in its own range, as RGB (3, 32, 32).

    With a ``palette``, those of the two colours predicted most often, in frames of these colours.
    """
    if palette is None:
        chosen = most_informative_channels(maps)
    else:
        chosen = most_probable(maps).flatten().bincount(minlength=len(palette)).argsort(descending=True)[:2].tolist()
    drawn = []
    for picture in maps:
        for channel in chosen:
            low, high = picture[channel].quantile(torch.tensor([0.01, 0.99]))
            tile = F.interpolate(heat(((picture[channel] - low) / (high - low or 1)).numpy())[None], size=32)[0]
            if palette is not None:
                colour = torch.from_numpy(palette.centres[channel])[:, None, None].expand(3, 32, 32).clone()
                colour[:, 3:-3, 3:-3] = tile[:, 3:-3, 3:-3]
                tile = colour
            drawn.append(tile)
    return drawn


def most_informative_channels(maps: torch.Tensor) -> list[int]:
    """Choose the two channels of (N, C, h, w) whose pictures use their range best, the second unlike the first.

    The edge, where zero padding shows, does not count.
    """
    inner = maps[:, :, 1:-1, 1:-1].flatten(2)
    range_of = inner.amax(dim=2) - inner.amin(dim=2)
    contrast = (inner.std(dim=2) / range_of.clamp(min=1e-6)).amin(dim=0)  # in every one of the pictures
    first, *others = contrast.argsort(descending=True).tolist()
    likeness = torch.corrcoef(inner.transpose(0, 1).flatten(1)).abs()[first]
    return [first, next((channel for channel in others if likeness[channel] < 0.7), others[0])]


def fine(x: torch.Tensor) -> torch.Tensor:
    """Return what differs in (N, C, 32, 32) from the mean of each square of 4x4 pixels: what an 8x8 map cannot draw."""
    return x - F.interpolate(F.avg_pool2d(x, 4), scale_factor=4)


def share(maps: torch.Tensor, target: torch.Tensor) -> float:
    """Return the share of the variance of ``target`` (N, c, H, W) that a linear map of (N, C, H, W) reproduces."""
    channels, target = ((x - x.mean(dim=(0, 2, 3), keepdim=True)).double().transpose(0, 1).flatten(1).T
                        for x in (maps, target))
    solution = torch.linalg.pinv(channels.T @ channels, hermitian=True) @ (channels.T @ target)
    return float(1 - (target - channels @ solution).square().sum() / target.square().sum())


def table_of_shares(values: Values, networks: dict[str, nn.Module], rgb: torch.Tensor) -> None:
    """Write how much of the pictures a linear map of each block holds: brightness, its fine detail, and colour."""
    grey = grey_of(rgb)
    shares = {}
    for stem, network in networks.items():
        for block, maps in capture(network, grey)[1].items():
            maps = F.interpolate(maps, size=grey.shape[-2:])
            shares[block, stem] = {"grey": share(maps, grey), "detail": share(fine(maps), fine(grey)),
                                   "colour": share(maps, rgb - grey)}
    for (block, stem), figures in shares.items():
        for key, figure in figures.items():
            values.put(f"{key}.{stem}.{block}", 100 * figure, ".0f")
    blocks = dict.fromkeys(block for block, _ in shares)
    save_table("shares", "lrrrrrr", [
        ["", *(rf"\multicolumn{{2}}{{c}}{{{head} (\%)}}" for head in ("brightness", "its fine detail", "colour"))],
        ["behind", *(3 * ["CNN", "UNet"])], RULE,
        *([code(block), *(cell for key in ("grey", "detail", "colour") for stem in networks
                          for cell in values.cells(f"{key}.{stem}", block))] for block in blocks)])


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    blocks = "downconv1", "downconv2", "rfconv", "upconv1", "upconv2", "finalconv"
    for stem in "cnn", "unet":
        grey, colour = ([v[f"{key}.{stem}.{block}"] for block in blocks] for key in ("grey", "colour"))
        yield f"E: the {stem} loses brightness in the encoder, and has most of it in the end", (
            grey[0] > grey[1] + 5 and grey[0] > grey[2] + 5 and grey[2] < grey[4] < grey[5] == max(grey))
        yield f"E: the colour of the {stem} grows through the decoder", (
            colour[2] < colour[3] < colour[4] and colour[3] < colour[5])
    yield "E: the middle of the UNet has far less brightness than that of the CNN", (
        v["grey.unet.rfconv"] < v["grey.cnn.rfconv"] - 20)
    yield "E: the UNet's answer has more of the fine detail than the CNN's, and about the same of the colour", (
        v["detail.unet.finalconv"] > v["detail.cnn.finalconv"] + 10
        and abs(v["colour.unet.finalconv"] - v["colour.cnn.finalconv"]) < 2)
