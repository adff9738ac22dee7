"""Train and evaluate a network, for classification and regression alike."""

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from colour.data.datasets import load_category
from colour.learning.augment import augmented
from colour.learning.muon import Muon
from colour.learning.task import Task
from colour.metrics import Scores
from colour.pixels import grey_of, to_rgb
from colour.system import torchrun
from colour.system.cli import UserError
from colour.system.devices import replayed


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training. A new one is a field here, a flag in ``flags``, and its use."""

    epochs: int = 25
    batch_size: int = 100
    optimizer: str = "adam"  # or "muon"
    learn_rate: float = 0.001  # constant, or the peak of "onecycle"
    schedule: str = "constant"  # or "onecycle" (Smith and Topin 2017)
    weight_decay: float = 0.0
    label_smoothing: float = 0.0  # in [0, 1); of classification (Szegedy et al. 2016)
    augment: tuple[str, ...] = ()  # of augment.NAMES
    seed: int = 0
    precision: str = "auto"  # or "fp32", "bf16"


# ------------------------------------------------------------------------------------------------
# Pictures


@dataclass(frozen=True)
class PictureSet:
    """Hold pictures on the device as bytes; a batch at a time becomes floats."""

    images: torch.Tensor  # uint8 (N, 3, H, W)
    labels: torch.Tensor | None = None  # uint8 (N, H, W); None in regression

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> "PictureSet":
        return PictureSet(self.images[index], None if self.labels is None else self.labels[index])

    def augmented(self, names: tuple[str, ...], generator: torch.Generator) -> "PictureSet":
        """Return a copy moved at random; labels are a fourth channel, so they move with their pictures."""
        if self.labels is None:
            return PictureSet(augmented(self.images, names, generator))
        pixels = augmented(torch.cat([self.images, self.labels[:, None]], dim=1), names, generator)
        return PictureSet(pixels[:, :3], pixels[:, 3])


def load_sets(category: str, data_dir: str | None, holdout: int | None, device: torch.device,
              task: Task) -> tuple[PictureSet, PictureSet]:
    """Load the training and the validation set onto ``device``, labelled for ``task``.

    The validation set is the test set or, with ``holdout``, the last ``holdout`` training pictures, which are then not
    trained on. Raises ``UserError`` if that leaves nothing to train on.
    """
    x_train, x_valid = load_category(category, data_dir)
    if holdout is not None:
        if holdout >= len(x_train):
            raise UserError(f"--holdout {holdout} leaves nothing to train on: there are {len(x_train)} pictures")
        x_train, x_valid = x_train[:-holdout], x_train[-holdout:]

    def to_device(images):
        labels = task.labels(images)
        return PictureSet(torch.from_numpy(images).to(device), None if labels is None else labels.to(device))

    return to_device(x_train), to_device(x_valid)


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


# ------------------------------------------------------------------------------------------------
# Evaluation


class Tally:
    """Sums of loss and hits, kept on the device and divided once, by the pixels seen."""

    def __init__(self):
        self.loss = self.correct = self.pixels = self.classified = 0

    @torch.no_grad()
    def add(self, loss: torch.Tensor, pixels: int, guess: torch.Tensor | None = None,
            labels: torch.Tensor | None = None) -> None:
        """Count a batch: its mean loss per pixel and, in classification, the pixels that are labelled right."""
        if not pixels:  # the mean loss over nothing is not a number
            return
        self.loss = self.loss + loss.detach() * pixels
        self.pixels += pixels
        if labels is not None:
            self.correct = self.correct + (guess == labels).sum()
            self.classified += pixels

    def state_dict(self) -> dict[str, float | torch.Tensor]:
        return {"loss": self.loss, "correct": self.correct, "pixels": self.pixels, "classified": self.classified}

    def load_state_dict(self, state: dict[str, float | torch.Tensor]) -> None:
        self.loss, self.correct, self.pixels, self.classified = (
            state[name] for name in ("loss", "correct", "pixels", "classified"))

    def check(self, where: str) -> None:
        """Raise ``FloatingPointError`` if the loss is not finite; ``where`` ends its message."""
        if not math.isfinite(self.loss):
            raise FloatingPointError(f"the loss is no longer finite {where}")

    def result(self) -> dict[str, float]:
        """Return ``loss`` and, in classification, ``acc`` in [0, 1], over the pixels of all processes."""
        loss, correct, pixels, classified = torchrun.total(self.state_dict().values())
        return {"loss": loss / pixels, **({"acc": correct / classified} if classified else {})}


@torch.no_grad()
def evaluate(network: nn.Module, pictures: PictureSet, task: Task,
             batch_size: int | None = None) -> dict[str, float]:
    """Return the mean ``loss`` per pixel, in classification the accuracy ``acc``, and the figures of ``Scores``.

    It runs in eval mode and in float32, so that a score does not depend on the training precision.
    """
    was_training = network.training
    network.eval()
    tally, scores = Tally(), Scores()
    for rgb, labels in minibatches(pictures, batch_size or (1000 if pictures.images.is_cuda else 100)):
        grey = grey_of(rgb)
        output = network(grey)
        tally.add(task.loss(output, rgb, labels), grey.numel())
        scores.add(task.colours(output, grey), rgb, task.guess(output), labels)
    network.train(was_training)
    return {**tally.result(), **scores.result()}


# ------------------------------------------------------------------------------------------------
# Training


def train(network: nn.Module, train_set: PictureSet, valid_set: PictureSet, recipe: Recipe, task: Task,
          state: dict | None = None, stop: Callable[[], int] = lambda: 0,
          progress: Callable = lambda batches, total: batches) -> Iterator[dict]:
    """Train ``network`` in place by ``recipe`` and yield the training state after every epoch.

    Pass a state as ``state`` to resume from it exactly. It holds the state dict of ``model``, the
    moments of ``optimizer``, and ``history``, one dict per epoch: loss, val_loss, val_colour (dB), seconds and, in
    classification, acc and val_acc in [0, 1]. ``progress(batches, total)`` may wrap the batches of an epoch in a
    bar. Once ``stop()`` is true, the batch is finished and the last state is in the middle of an epoch: after
    ``done`` batches, with their ``tally``. Raises ``FloatingPointError`` if a loss is not finite.
    """
    device = train_set.images.device
    steps = math.ceil(len(train_set) / recipe.batch_size)
    network.to(device, memory_format=torch.channels_last)
    optimizer, scheduler = make_optimizer(network, recipe, steps)
    history, done, tally = [], 0, Tally()
    if state is not None:
        network.load_state_dict(state["model"])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state["optimizer"]})
        history, done = list(state["history"]), min(state["done"], steps)
        tally.load_state_dict(state["tally"])
        wind_forward(scheduler, len(history) * steps + done)
    step = make_step(network, recipe, task)

    def state_now():
        return {"model": network.state_dict(), "optimizer": optimizer.state_dict()["state"], "history": list(history),
                "done": done, "tally": tally.state_dict()}

    for epoch in range(len(history), recipe.epochs):
        start = time.perf_counter()
        shuffle = torch.Generator(device).manual_seed(100_003 * recipe.seed + epoch)  # it uses only the lower 32 bits
        network.train()
        batches = minibatches(train_set, recipe.batch_size, shuffle, recipe.augment)
        for rgb, labels in progress(itertools.islice(batches, done, None), steps - done):
            loss, guess = step(rgb, labels)
            optimizer.step()
            scheduler.step()
            tally.add(loss, rgb[:, 0].numel(), guess, labels)
            done += 1
            if device.type == "cpu" or done == steps:  # reading a value from the GPU forces a synchronisation
                tally.check(f"at batch {done} of epoch {epoch + 1}")
            if stop():
                break
        if done < steps:
            yield state_now()
            return
        history.append({**tally.result(), **validate(network, valid_set, task, epoch),
                        "seconds": time.perf_counter() - start})
        done, tally = 0, Tally()
        yield state_now()


def make_step(network: nn.Module, recipe: Recipe, task: Task) -> Callable:
    """Return a function of RGB and labels that leaves the gradients in ``network`` and returns loss and guess."""
    device, replica = next(network.parameters()).device, torchrun.replicate(network)
    # A cache of converted weights would not fit in a CUDA graph.
    precision = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16", cache_enabled=False)

    def step(rgb, labels):
        replica.zero_grad()
        with precision:
            output = replica(grey_of(rgb))
        loss = task.loss(output, rgb, labels, recipe.label_smoothing)
        torchrun.weighted(loss, output).backward()
        return loss.detach(), task.guess(output)

    return replayed(step, device, list(network.parameters()))


def make_optimizer(network: nn.Module, recipe: Recipe, steps: int):
    """Return the optimizer and the schedule of its learning rate, for ``steps`` batches an epoch."""
    if recipe.optimizer == "muon":
        optimizer = Muon(network, recipe.learn_rate, recipe.weight_decay)
    else:  # without weight decay AdamW is Adam; with it, the decay does not depend on the gradient
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learn_rate, weight_decay=recipe.weight_decay,
                                      fused=True)
    if recipe.schedule == "onecycle":
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learn_rate,
                                                              total_steps=recipe.epochs * steps)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)


def example_of_moments(network: nn.Module, recipe: Recipe) -> dict[int, dict[str, torch.Tensor]]:
    """Return what the optimizer remembers of each parameter, after a step of a copy of ``network``."""
    network = deepcopy(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer, _ = make_optimizer(network, recipe, steps=1)
    optimizer.step()
    return optimizer.state_dict()["state"]


def wind_forward(scheduler, steps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch expects a step of the optimizer before each
        for _ in range(steps):
            scheduler.step()


def validate(network: nn.Module, valid_set: PictureSet, task: Task, epoch: int) -> dict[str, float]:
    """Return ``val_loss``, ``val_colour`` and perhaps ``val_acc``; raise ``FloatingPointError`` for a loss of NaN."""
    figures = evaluate(network, valid_set, task)
    if not math.isfinite(figures["loss"]):
        raise FloatingPointError(f"the validation loss is no longer finite after epoch {epoch + 1}")
    return {f"val_{name}": figures[name] for name in ("loss", "acc", "colour") if name in figures}
