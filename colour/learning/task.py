"""The two tasks: predict one of the palette's colours per pixel (classification), or RGB (regression).

A task defines the labels, the loss, how an output becomes a picture, and the text of a result. Regression has no
palette and no labels (``None``).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from colour.decode import DECODERS, TEMPERATURE, keep_grey, most_probable
from colour.palette import Palette
from colour.system.cli import UserError


class Decoding(NamedTuple):
    """How outputs become pictures: --decode, --temperature and --keep_grey."""

    decoder: str = "argmax"
    temperature: float = TEMPERATURE
    keep_grey: bool = False


class _Decoded:
    """What both tasks do with their ``decoding``."""

    def colours(self, output: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
        """Return RGB (N, 3, H, W) in [0, 1] for an output (N, num_outputs, H, W) and the grey input (N, 1, H, W)."""
        rgb = self.decoded(output)
        return keep_grey(rgb, grey) if self.decoding.keep_grey else rgb

    def with_decoding(self, **changes) -> "Task":
        """Return the same task with another decoding."""
        return replace(self, decoding=self.decoding._replace(**changes))

    def photograph(self) -> "Task":
        """Return the same task, decoded to look like a photograph: mixed colours, and the brightness of the input."""
        return self.with_decoding(decoder="annealed", keep_grey=True)

    def for_validation(self) -> "Task":
        """Return the same task, decoded as in every history: by the mean colours, whatever is drawn."""
        return self.with_decoding(decoder="mean", keep_grey=False)


@dataclass(frozen=True)
class Classification(_Decoded):
    """Name the palette's colour of each pixel. Outputs are logits (N, K, H, W)."""

    loss_name: ClassVar = "cross-entropy"
    digits: ClassVar = 4  # of a loss as it is printed

    palette: Palette
    decoding: Decoding = Decoding()

    @property
    def num_outputs(self) -> int:
        return len(self.palette)

    def labels(self, images: np.ndarray) -> torch.Tensor:
        """Return the labels, uint8 (N, H, W), of uint8 pictures (N, 3, H, W)."""
        return torch.from_numpy(self.palette.labels(images))

    def loss(self, output: torch.Tensor, rgb: torch.Tensor, labels: torch.Tensor,
             label_smoothing: float = 0.0) -> torch.Tensor:
        """Return the mean cross-entropy over pixels against labels, int64 (N, H, W).

        ``label_smoothing`` in [0, 1) is the share of each target that is spread over all colours.
        """
        # With channels last, as the convolutions leave it, this view costs nothing and is the fast layout.
        losses = F.cross_entropy(output.permute(0, 2, 3, 1).flatten(0, 2).float(), labels.flatten(), reduction="none",
                                 label_smoothing=label_smoothing)
        return losses.mean()  # the library's own mean is many times slower on a GPU

    def guess(self, output: torch.Tensor) -> torch.Tensor:
        """Return the most probable label of each pixel, (N, H, W)."""
        return most_probable(output)

    def decoded(self, output: torch.Tensor) -> torch.Tensor:
        return DECODERS[self.decoding.decoder](output, self.palette, self.decoding.temperature)

    def summary(self, figures: dict[str, float]) -> str:
        return f"Val Loss: {figures['loss']:.4f}, Val Acc: {figures['acc']:.1%}"

    def check(self, path, sidecar: dict, num_outputs: int) -> None:
        """Raise ``UserError`` unless the weights at ``path`` were trained for this palette."""
        if num_outputs != len(self.palette) and num_outputs == Regression.num_outputs:
            raise UserError(f"{path} predicts 3 channels, not {len(self.palette)} colours: "
                            "these are regression weights, for colour_regression.py")
        if num_outputs != len(self.palette):
            raise UserError(f"{path} predicts {num_outputs} colours, {self.palette.path} has {len(self.palette)}: "
                            "give its palette with --colours" + ("" if sidecar else ", or put its sidecar beside it"))
        if sidecar.get("palette_sha256", self.palette.sha256()) != self.palette.sha256():
            raise UserError(f"{path} was trained with another palette than {self.palette.path}: "
                            f"give --colours {sidecar.get('palette')}")


@dataclass(frozen=True)
class Regression(_Decoded):
    """Predict the RGB of each pixel. Outputs are (N, 3, H, W); there are no labels."""

    palette: ClassVar = None
    num_outputs: ClassVar = 3
    loss_name: ClassVar = "mean squared error"
    digits: ClassVar = 6

    decoding: Decoding = Decoding()

    def labels(self, images: np.ndarray) -> None:
        return None

    def loss(self, output: torch.Tensor, rgb: torch.Tensor, labels: None, label_smoothing: float = 0.0) -> torch.Tensor:
        """Return the mean squared error over pixels and channels against RGB (N, 3, H, W)."""
        return F.mse_loss(output.float(), rgb)

    def guess(self, output: torch.Tensor) -> None:
        return None

    def decoded(self, output: torch.Tensor) -> torch.Tensor:
        return output.clamp(0, 1)

    def summary(self, figures: dict[str, float]) -> str:
        return f"Val Loss (mean squared error): {figures['loss']:.6f}"

    def check(self, path, sidecar: dict, num_outputs: int) -> None:
        """Raise ``UserError`` unless the weights at ``path`` predict RGB."""
        if num_outputs != self.num_outputs:
            raise UserError(f"{path} predicts {num_outputs} colours, not RGB: these weights are for colourization.py")


Task = Classification | Regression
