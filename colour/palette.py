"""A palette: the K colours that a pixel can be classified into."""

import hashlib
import io
import itertools
from pathlib import Path

import numpy as np
import torch

from colour.system.cli import UserError, brief
from colour.system.files import ROOT, atomic_write
from colour.system.untrusted import load_npy

DEFAULT = ROOT / "colour" / "colour_kmeans24_cat7.npy"
MAX_COLOURS = 256  # labels are kept as uint8
MAX_BYTES = 1 << 20  # more is not read


class Palette:
    """K colours as a float32 array ``centres`` (K, 3) in [0, 1): RGB in units of 256."""

    def __init__(self, centres: np.ndarray, path: Path | None = None):
        self.centres = np.ascontiguousarray(centres, dtype=np.float32)
        self.path = path

    @property
    def name(self) -> str:
        """Return its path, from the repository's root if it lies there; a sidecar names it so."""
        path = self.path.resolve()
        return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)

    def __len__(self) -> int:
        return len(self.centres)

    @classmethod
    def load(cls, path: str | Path = DEFAULT) -> "Palette":
        """Read a ``.npy`` file: plain (K, 3) numbers, or the original assignment's pickled pair (centres, distortion).

        Only arrays are unpickled. Raises ``UserError`` if the file is missing or is not a palette.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"no palette at {path}: name one with --colours, or learn one with "
                            "'python -m colour.kmeans -k 24'")
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES)
            centres = load_npy(io.BytesIO(data), len(data), allow_pickle=True)
            if not isinstance(centres, np.ndarray) or centres.dtype.hasobject:
                centres = centres[0]
            if centres.dtype.kind not in "fiu":
                raise ValueError("it holds no array of numbers")
        except Exception as error:  # a damaged file can raise anything
            raise UserError(f"{path} is not a palette, a .npy file of K x 3 numbers ({brief(error)})") from error
        if centres.ndim != 2 or centres.shape[1] != 3 or not 2 <= len(centres) <= MAX_COLOURS:
            raise UserError(f"{path} is not a palette: its shape is {centres.shape}, "
                            f"not (K, 3) with K from 2 to {MAX_COLOURS}")
        if not ((centres >= 0) & (centres <= 1)).all():
            raise UserError(f"{path} is not a palette: its colours must lie between 0 and 1 (a pixel / 256)")
        return cls(centres.astype(np.float32), path)

    def save(self, path: str | Path) -> None:
        """Write the centres as a plain float32 ``.npy`` file, completely or not at all."""
        with atomic_write(path) as file:
            np.save(file, self.centres, allow_pickle=False)

    def sha256(self) -> str:
        """Return the SHA-256 of the palette as a plain ``.npy`` file, whatever form it was read from."""
        file = io.BytesIO()
        np.save(file, self.centres, allow_pickle=False)
        return hashlib.sha256(file.getvalue()).hexdigest()

    def labels(self, images: np.ndarray) -> np.ndarray:
        """Find the nearest centre of each pixel (Euclid in RGB, the lower index on a tie).

        ``images`` is uint8 (N, 3, H, W); the labels are uint8 (N, H, W). Colours are looked up in cells of 4 x 4 x 4.
        If all eight corners of a cell have the same nearest centre, so has the whole cell, because the colours nearest
        to one centre form a convex region (Voronoi). A pixel in another cell is compared with all centres.
        """
        corner = torch.arange(0, 257, 4)
        nearest = self._nearest(torch.cartesian_prod(corner, corner, corner)).view(65, 65, 65)
        near, far = slice(0, -1), slice(1, None)
        corners = torch.stack([nearest[ends] for ends in itertools.product((near, far), repeat=3)])
        cells = torch.where((corners == corners[0]).all(dim=0), corners[0], -1).flatten()
        labels = torch.empty(len(images), *images.shape[2:], dtype=torch.uint8)
        for part, found in zip(torch.from_numpy(images).split(100), labels.split(100)):  # so many stay in the cache
            red, green, blue = (part >> 2).int().unbind(dim=1)
            label = cells[red << 12 | green << 6 | blue]
            unsure = (label < 0).nonzero(as_tuple=True)
            label[unsure] = self._nearest(part.permute(0, 2, 3, 1)[unsure])
            found.copy_(label)
        return labels.numpy()

    def _nearest(self, colours: torch.Tensor) -> torch.Tensor:
        """Find the nearest centre, int16 (N,), of colours (N, 3) in bytes.

        The squared distance of x to a centre c is |x|^2 - 2 x.c + |c|^2: the nearest has the largest x.c - |c|^2 / 2.
        """
        centres = torch.from_numpy(self.centres).double()  # their products with bytes are exact
        offsets = centres.square().sum(dim=1) / -2
        parts = colours.split(20_000)  # the scores of so many stay in the cache
        scores = (torch.addmm(offsets, part.double(), centres.T / 256) for part in parts)
        return torch.cat([score.max(dim=1).indices for score in scores]).short()  # the first of a tie

    def rgb(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the colours of labels (N, H, W) as float32 RGB (N, 3, H, W) in [0, 1)."""
        centres = torch.from_numpy(self.centres).to(labels.device)
        return centres[labels.long()].permute(0, 3, 1, 2)
