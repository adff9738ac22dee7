"""A palette: the K colours that a pixel can be classified into."""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch

from colour.pixels import to_rgb
from colour.system.cli import UserError
from colour.system.files import ROOT, atomic_write
from colour.system.untrusted import load_npy, parsing

DEFAULT = ROOT / "colour" / "colour_kmeans24_cat7.npy"
MAX_COLOURS = 256  # labels are kept as uint8
MAX_BYTES = 1 << 20  # of a file


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
        with parsing(f"{path} is not a palette, a .npy file of K x 3 numbers", "choose another with --colours"):
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES)
            centres = load_npy(io.BytesIO(data), len(data), allow_pickle=True)
            if not isinstance(centres, np.ndarray) or centres.dtype.hasobject:
                centres = centres[0]  # of the pair
            if centres.dtype.kind not in "fiu":
                raise ValueError("it holds no array of numbers")
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

        ``images`` is uint8 (N, 3, H, W); the labels are uint8 (N, H, W).
        """
        from scipy.cluster.vq import vq

        labels = np.empty((len(images), *images.shape[2:]), np.uint8)
        for start in range(0, len(images), 100):  # so that memory does not grow with N
            pixels = images[start:start + 100].transpose(0, 2, 3, 1)
            nearest, _ = vq(to_rgb(pixels.reshape(-1, 3)), self.centres.astype(float))
            labels[start:start + 100] = nearest.reshape(pixels.shape[:-1])
        return labels

    def rgb(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the colours of labels (N, H, W) as float32 RGB (N, 3, H, W) in [0, 1)."""
        centres = torch.from_numpy(self.centres).to(labels.device)
        return centres[labels.long()].permute(0, 3, 1, 2)
