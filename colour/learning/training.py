"""Train and evaluate a network, for classification and regression alike."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn
from torch.optim import Optimizer

from colour.learning.networks import sample_pictures
from colour.learning.optimizers import OPTIMIZERS, SCHEDULES, wind_forward
from colour.learning.pictures import PictureSet, minibatches
from colour.learning.speed import has_fast_bf16, replayed
from colour.learning.task import Task
from colour.metrics import Scores
from colour.pixels import grey_of
from colour.system import torchrun


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training. A new one is a field here, a flag in ``flags``, and its use."""

    epochs: int = 25
    batch_size: int = 100
    optimizer: str = "adam"  # a key of OPTIMIZERS
    learn_rate: float = 0.001  # or its peak, if the schedule changes it
    schedule: str = "constant"  # a key of SCHEDULES
    weight_decay: float = 0.0
    label_smoothing: float = 0.0  # in [0, 1); of classification (Szegedy et al. 2016)
    augment: tuple[str, ...] = ()  # of augment.NAMES
    seed: int = 0
    precision: str = "auto"  # or "fp32", "bf16"

    def decided(self, device: torch.device) -> "Recipe":
        """Return the same recipe with the precision that "auto" means on ``device``."""
        if self.precision != "auto":
            return self
        return replace(self, precision="bf16" if has_fast_bf16(device) else "fp32")


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

    def state_dict(self) -> dict[str, float]:
        return {name: float(value) for name, value in vars(self).items()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update({name: float(value) for name, value in state.items()})

    def check(self, where: str) -> None:
        """Raise ``FloatingPointError`` if the loss is not finite; ``where`` ends its message."""
        if not math.isfinite(self.loss):
            raise FloatingPointError(f"the loss is no longer finite {where}")

    def result(self) -> dict[str, float]:
        """Return ``loss`` and, in classification, ``acc`` in [0, 1], over the pixels of all processes."""
        loss, correct, pixels, classified = torchrun.total([self.loss, self.correct, self.pixels, self.classified])
        return {"loss": loss / pixels, **({"acc": correct / classified} if classified else {})}


@torch.no_grad()
def evaluate(network: nn.Module, pictures: PictureSet, task: Task,
             batch_size: int | None = None) -> dict[str, float]:
    """Return the mean ``loss`` per pixel, and the figures of ``Scores``.

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
    bar. Once ``stop()`` is true, the batch is finished and the last state may be in the middle of an epoch: after
    ``done`` batches, with their ``tally``. Raises ``FloatingPointError`` if a loss is not finite.
    """
    device = train_set.images.device
    recipe = recipe.decided(device)
    steps = math.ceil(len(train_set) / recipe.batch_size)
    network.to(device)
    optimizer = OPTIMIZERS[recipe.optimizer](network, **asdict(recipe))
    scheduler = SCHEDULES[recipe.schedule].make(optimizer, recipe.learn_rate, recipe.epochs * steps)
    history, done, tally = [], 0, Tally()
    if state is not None:
        network.load_state_dict(state["model"])
        # Only the moments are saved: the recipe gives the rest of the optimizer, and how far its schedule is.
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state["optimizer"]})
        history, done = list(state["history"]), state["done"]
        tally.load_state_dict(state["tally"])
        wind_forward(scheduler, min(len(history), recipe.epochs) * steps + done)
    step = make_step(network, recipe, task)
    for epoch in range(len(history), recipe.epochs):
        start = time.perf_counter()
        shuffle = torch.Generator(device).manual_seed(100_003 * recipe.seed + epoch)  # which uses 32 bits of it
        network.train()
        batches = minibatches(train_set, recipe.batch_size, shuffle, recipe.augment)
        batches = itertools.islice(batches, done, None)  # those before are drawn, too: the random numbers go on
        for rgb, labels in progress(batches, steps - done):
            loss, guess = step(rgb, labels)
            optimizer.step()
            scheduler.step()
            tally.add(loss, rgb[:, 0].numel(), guess, labels)
            done += 1
            if device.type == "cpu" or done == steps:  # reading a value from the GPU forces a synchronisation
                tally.check(f"at batch {done} of epoch {epoch + 1}")
            if stop():
                break
        if done == steps:
            history.append({**tally.result(), **validate(network, valid_set, task, epoch),
                            "seconds": time.perf_counter() - start})
            done, tally = 0, Tally()
        yield state_of(network, optimizer, history, done, tally)
        if stop():
            return


def state_of(network: nn.Module, optimizer: Optimizer, history: list[dict], done: int, tally: Tally) -> dict:
    """Return the training state that ``train`` yields."""
    return {"model": network.state_dict(), "optimizer": optimizer.state_dict()["state"], "history": list(history),
            "done": done, "tally": tally.state_dict()}


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


def validate(network: nn.Module, valid_set: PictureSet, task: Task, epoch: int) -> dict[str, float]:
    """Return ``val_loss``, ``val_colour`` and perhaps ``val_acc``; raise ``FloatingPointError`` for a loss of NaN.

    Colour is that of the mean colours, however the user has pictures drawn, so that histories can be compared.
    """
    figures = evaluate(network, valid_set, task.for_validation())
    if not math.isfinite(figures["loss"]):
        raise FloatingPointError(f"the validation loss is no longer finite after epoch {epoch + 1}")
    return {f"val_{name}": figures[name] for name in ("loss", "acc", "colour") if name in figures}


def example_state(network: nn.Module, recipe: Recipe) -> dict:
    """Return a training state as ``train`` yields it, to compare a saved one with: the same names and shapes.

    Its history is empty. A step of a copy of ``network`` shows what the optimizer remembers.
    """
    network = deepcopy(network)
    network(sample_pictures(network)).sum().backward()  # a layer that is not used has no gradient, and no moments
    optimizer = OPTIMIZERS[recipe.optimizer](network, **asdict(recipe))
    optimizer.step()
    return state_of(network, optimizer, [], 0, Tally())
