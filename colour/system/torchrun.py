"""Training in several processes, on one machine or many, as ``torchrun`` starts them.

    torchrun --nproc_per_node=2 colourization.py --model UNet

Every process takes its share of every batch. Gradients and the statistics of BatchNorm are those of the whole batch,
so the result does not depend on the number of processes. In a single process nothing here has any effect.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn

from colour.system.cli import UserError


def launched() -> bool:
    """Return whether ``torchrun`` started this process together with others."""
    return distributed.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def rank() -> int:
    """Return the number of this process; only rank 0 prints and writes."""
    return int(os.environ["RANK"]) if launched() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def own_gpu() -> torch.device:
    """Return the GPU of this process: its number among the processes on this machine says which."""
    number = int(os.environ["LOCAL_RANK"]) if launched() else torch.cuda.current_device()
    if number >= torch.cuda.device_count():
        raise UserError(f"--nproc_per_node asks for more GPUs than the {torch.cuda.device_count()} of this machine")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def share() -> slice:
    """Return which pictures of a batch this process takes."""
    return slice(rank(), None, world_size())


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Connect the processes of one training: by NCCL between GPUs, else by Gloo.

    If one is lost, the others get a ``RuntimeError`` from their next exchange, or when ``torchrun`` sends SIGTERM. Only
    the first goes on after the block: the others exit.
    """
    if not launched():
        yield
        return

    def end(number, frame):
        raise RuntimeError("stopped by torchrun")

    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        distributed.destroy_process_group()
    if rank():  # PyTorch sometimes aborts such a process at its end, and then torchrun stops the first one, too
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def from_rank_zero(make: Callable):
    """Call ``make()`` in rank 0 and return its result in all processes; after a ``UserError`` every process exits."""
    if not launched():
        return make()
    answer = [None, None]
    if rank() == 0:
        try:
            answer[0] = make()
        except UserError as error:
            answer[1] = error
    distributed.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1] if rank() == 0 else SystemExit(2)  # only one process prints the error
    return answer[0]


def replicate(network: nn.Module) -> nn.Module:
    """Wrap ``network`` for training, so that its gradients are averaged over the processes."""
    if not launched():
        return network
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d  # in place: an optimizer may hold its parameters
    return nn.parallel.DistributedDataParallel(network)


def weighted(loss: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Scale the mean ``loss`` of this process's ``output`` so that the average over processes is that of the batch.

    A process without a picture of the batch returns 0.
    """
    if not launched():
        return loss
    pictures = torch.tensor(float(len(output)), device=loss.device)
    distributed.all_reduce(pictures)
    return loss * (len(output) * world_size() / pictures) if len(output) else output.sum()


def total(sums: Iterable[float | torch.Tensor]) -> list[float]:
    """Add up each of ``sums`` over the processes, in float64."""
    sums = [float(value) for value in sums]
    if not launched():
        return sums
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    sums = torch.tensor(sums, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    return sums.tolist()


# ------------------------------------------------------------------------------------------------
# BatchNorm over all processes, which PyTorch's SyncBatchNorm does only on GPUs


class _Sum(torch.autograd.Function):
    """Sum a tensor over the processes; gradients flow back to all of them."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        distributed.all_reduce(x)
        return x

    backward = forward


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Normalise over the pictures of all processes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            count = _Sum.apply(wide.new_tensor(wide[:, 0].numel()))
            mean = _Sum.apply(wide.sum(dim=(0, 2, 3))) / count
            centred = wide - mean[:, None, None]
            variance = _Sum.apply(centred.square().sum(dim=(0, 2, 3))) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                self.num_batches_tracked += 1
            scale = self.weight * (variance + self.eps).rsqrt()
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
