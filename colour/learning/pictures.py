"""The pictures to learn from: bytes on the device, cut into mini-batches."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from colour.data.datasets import load_category
from colour.learning.augment import augmented
from colour.learning.task import Task
from colour.pixels import to_rgb
from colour.system import torchrun
from colour.system.cli import UserError


@dataclass(frozen=True)
class PictureSet:
    """Hold pictures on the device as bytes; a batch at a time becomes floats."""

    images: torch.Tensor  # uint8 (N, 3, H, W)
    labels: torch.Tensor | None = None  # uint8 (N, H, W); None in regression

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> "PictureSet":
        return PictureSet(self.images[index], None if self.labels is None else self.labels[index])

    def sha256(self) -> str:
        """Return the SHA-256 of the pictures' bytes."""
        return hashlib.sha256(self.images.cpu().numpy()).hexdigest()

    def augmented(self, names: tuple[str, ...], generator: torch.Generator) -> "PictureSet":
        """Return a copy moved at random; labels are a fourth channel, so they move with their pictures."""
        if self.labels is None:
            return PictureSet(augmented(self.images, names, generator))
        pixels = augmented(torch.cat([self.images, self.labels[:, None]], dim=1), names, generator)
        return PictureSet(pixels[:, :3], pixels[:, 3])

    def labelled(self, task: Task) -> "PictureSet":
        """Return the same pictures with the labels that ``task`` gives them."""
        labels = task.labels(self.images.cpu().numpy())
        return PictureSet(self.images, None if labels is None else labels.to(self.images.device))


def load_sets(category: str, data_dir: str | None, holdout: int | None, device: torch.device,
              task: Task | None = None) -> tuple[PictureSet, PictureSet]:
    """Load the training and the validation set onto ``device``, labelled for ``task`` if there is one.

    The validation set is the test set or, with ``holdout``, the last ``holdout`` training pictures, which are then not
    trained on. Raises ``UserError`` if that leaves nothing to train on.
    """
    x_train, x_valid = load_category(category, data_dir)
    if holdout is not None:
        if holdout >= len(x_train):
            raise UserError(f"--holdout {holdout} leaves nothing to train on: there are {len(x_train)} pictures")
        x_train, x_valid = x_train[:-holdout], x_train[-holdout:]

    sets = (PictureSet(torch.from_numpy(images).to(device)) for images in (x_train, x_valid))
    return tuple(pictures.labelled(task) if task else pictures for pictures in sets)


def minibatches(pictures: PictureSet, size: int, shuffle: torch.Generator | None = None,
                augment: tuple[str, ...] = ()) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Cut ``pictures`` into batches: RGB (B, 3, H, W) in [0, 1) and labels, int64 (B, H, W), or None.

    ``shuffle`` draws the order and the augmentations; without it the pictures keep their order. The last batch holds
    what is left. When several processes train together, each gets its share of every batch.
    """
    n, device = len(pictures), pictures.images.device
    order = torch.arange(n, device=device) if shuffle is None else torch.randperm(n, generator=shuffle, device=device)
    for index in order.split(size):
        batch = pictures[index]
        if augment:
            batch = batch.augmented(augment, shuffle)
        batch = batch[torchrun.share()]
        yield to_rgb(batch.images), None if batch.labels is None else batch.labels.long()
