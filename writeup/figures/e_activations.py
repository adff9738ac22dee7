"""E: two channels of each block for three horses, and how much detail the last blocks hold."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from activations import capture
from colour.decode import most_probable
from colour.palette import Palette
from colour.pixels import grey_of, to_rgb
from writeup.figures.common import Horses, Values, heat, load_shipped, save_row

CLOSE_UP = [7, 1, 6]  # test horses


def make(values: Values, horses: Horses) -> None:
    rgb = to_rgb(horses.valid.images[:200])
    grey = grey_of(rgb)
    for stem in "cnn", "unet":
        network, _ = load_shipped(f"{stem}_k3_f32", horses.palette)
        for block, maps in capture(network, grey[CLOSE_UP])[1].items():
            save_row(f"act_{stem}_{block}", tiles(maps, horses.palette if block == "finalconv" else None), scale=3)
        _, maps = capture(network, grey)
        for block in "upconv2", "finalconv":
            values.put(f"detail.{stem}.{block}", 100 * detail(maps[block], grey), ".0f")
    for index in CLOSE_UP:
        save_row(f"horse_{index}", [grey[index], rgb[index]], scale=3)


def tiles(maps: torch.Tensor, palette: Palette | None) -> list[torch.Tensor]:
    """Draw two channels of each picture of (N, C, h, w), each in its own range, as RGB (3, 32, 32).

    With a ``palette``, those of the two colours predicted most often, in frames of these colours.
    """
    if palette is None:
        chosen = telling_channels(maps)
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


def telling_channels(maps: torch.Tensor) -> list[int]:
    """Choose the two channels of (N, C, h, w) whose pictures use their range best, the second unlike the first.

    The edge, where zero padding shows, does not count.
    """
    inner = maps[:, :, 1:-1, 1:-1].flatten(2)
    range_of = inner.amax(dim=2) - inner.amin(dim=2)
    contrast = (inner.std(dim=2) / range_of.clamp(min=1e-6)).amin(dim=0)  # in every one of the pictures
    first, *others = contrast.argsort(descending=True).tolist()
    likeness = torch.corrcoef(inner.transpose(0, 1).flatten(1)).abs()[first]
    return [first, next((channel for channel in others if likeness[channel] < 0.7), others[0])]


def detail(maps: torch.Tensor, grey: torch.Tensor) -> float:
    """Return the share of the fine detail of ``grey`` (N, 1, H, W) that a linear map of (N, C, H, W) reproduces.

    Fine detail is what differs from the mean of its square of 4x4 pixels: what an 8x8 map cannot draw.
    """
    def fine(x):
        return (x - F.interpolate(F.avg_pool2d(x, 4), scale_factor=4)).double().transpose(0, 1).flatten(1).T

    channels, target = fine(maps), fine(grey)
    solution = torch.linalg.pinv(channels.T @ channels, hermitian=True) @ (channels.T @ target)
    return float(1 - (target - channels @ solution).square().sum() / target.square().sum())


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    yield "E: the UNet's answer holds the fine detail, its upconv2 less of it than the CNN's", (
        v["detail.unet.finalconv"] > v["detail.cnn.finalconv"] + 10
        and v["detail.unet.upconv2"] < v["detail.cnn.upconv2"])
