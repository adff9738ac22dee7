"""How weights move: a new optimizer, or a new schedule of the learning rate, is a function and a row here.

An optimizer is made of a network and the hyperparameters of ``Recipe`` that it names; its docstring is its help.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR

from colour.learning.muon import Muon


def adam(network: nn.Module, *, learn_rate: float, weight_decay: float, **_) -> Optimizer:
    """the assignment's, with a weight decay that does not depend on the gradient (AdamW)"""
    return torch.optim.AdamW(network.parameters(), lr=learn_rate, weight_decay=weight_decay, fused=True)


def muon(network: nn.Module, *, learn_rate: float, weight_decay: float, **_) -> Optimizer:
    """needs fewer epochs, at --learn_rate 0.03 to 0.08"""
    return Muon(network, learn_rate, weight_decay)


OPTIMIZERS = {"adam": adam, "muon": muon}


class Schedule(NamedTuple):
    """Make the schedule of an optimizer, given the peak learning rate and the number of steps in all."""

    make: Callable[[Optimizer, float, int], LRScheduler]
    needs_epochs: bool  # depends on the number of epochs, which therefore cannot be raised later


SCHEDULES = {
    "constant": Schedule(lambda optimizer, peak, steps: ConstantLR(optimizer, factor=1), needs_epochs=False),
    # Smith and Topin 2017, "Super-convergence: very fast training of neural networks using large learning rates"
    "onecycle": Schedule(lambda optimizer, peak, steps: OneCycleLR(optimizer, peak, total_steps=steps),
                         needs_epochs=True),
}


def wind_forward(scheduler: LRScheduler, steps: int) -> None:
    """Bring a new schedule to where it was after ``steps`` batches, so that no state of it must be saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch expects a step of the optimizer before each
        for _ in range(steps):
            scheduler.step()
