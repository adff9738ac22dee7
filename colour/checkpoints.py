"""Weights on disk: safe to load, atomic to save, and a sidecar that says where they come from.

``NAME.pkl`` holds the state dict alone, ``NAME.json`` beside it (the sidecar) how it was made and
what it scores, ``NAME.state.pt`` what ``--resume`` needs.
"""

import glob
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from colour.cli import UserError, warn
from colour.files import atomic_write, locked, sha256
from colour.untrusted import load_torch

MAX_SIDECAR_BYTES = 1 << 25
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Shape(NamedTuple):
    """What the weights' shapes say about their network."""

    kernel: int
    num_filters: int
    num_colours: int
    skips: bool  # whether the grey input enters the last convolution, as in the UNets


def sidecar_path(path: str | Path) -> Path:
    return _beside(path, ".json")


def state_path(path: str | Path) -> Path:
    return _beside(path, ".state.pt")


def _beside(path: str | Path, suffix: str) -> Path:
    path = Path(path)  # only .pkl is replaced: the runs lr0.1 and lr0.2 are not to share a sidecar
    return path.with_name(path.name.removesuffix(".pkl") + suffix)


def load(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read weights, on the CPU whatever device they were saved from, and their sidecar ({} if none).

    Nothing but tensors and plain containers is unpickled; PyTorch 0.3's format is read too. A
    sidecar that belongs to other weights is left out with a warning. Raises ``UserError`` for a
    file that is missing or does not hold a state dict of finite numbers.
    """
    path = Path(path)
    weights = load_torch(path, "weights")
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(name, str) and torch.is_tensor(value) for name, value in weights.items()):
        raise UserError(f"{path} holds no state dict: save weights with torch.save(model.state_dict(), FILE)")
    size = path.stat().st_size
    for name, value in weights.items():
        dtypes = (torch.int64,) if name.endswith("num_batches_tracked") else FLOATS
        if value.dtype not in dtypes or value.layout != torch.strided or value.is_nested or value.device.type != "cpu":
            raise UserError(f"{path} holds no plain floating-point numbers in {name} ({value.dtype}, {value.layout}, "
                            f"{value.device}): train again, or convert them")
        if value.numel() * value.element_size() > size:
            raise UserError(f"{path} is damaged: it claims more numbers in {name} than it holds")
        if not torch.isfinite(value).all():
            raise UserError(f"{path} holds numbers that are not finite in {name}: its training diverged, "
                            "train again with a smaller --learn_rate")
    # A plain dict, without PyTorch's version marks, which ask for counters that older files lack.
    return dict(weights), _load_sidecar(path)


def shape_of(weights: dict[str, torch.Tensor], path: str | Path) -> Shape:
    """Read kernel, filters and colours off the weights; ``UserError`` if they are of no network here."""
    def other(why: str) -> UserError:
        return UserError(f"{path} holds weights of another network ({why}): name some of this project's")

    names = "downconv1.0.weight", "rfconv.0.weight", "finalconv.weight"
    for name in names:
        if name not in weights:
            raise other(f"{name} is missing")
        if weights[name].dim() != 4 or not weights[name].numel():
            raise other(f"{name} has the shape {tuple(weights[name].shape)}")
    first, middle, last = (weights[name].shape for name in names)
    f, k, colours = first[0], first[-1], last[0]
    skips = last[1] == colours + 1
    # These three bound the memory that the whole network takes by what the file really holds.
    expected = (f, 1, k, k), (2 * f, 2 * f, k, k), (colours, colours + skips, k, k)
    for name, found, fitting in zip(names, (first, middle, last), expected):
        if found != fitting:
            raise other(f"{name} has the shape {tuple(found)}, not {fitting}")
    if k % 2 == 0:
        raise other(f"its kernel of {k} is even")
    return Shape(k, f, colours, skips)


def save(path: str | Path, weights: dict[str, torch.Tensor], sidecar: dict) -> None:
    """Write the weights, then the sidecar with their SHA-256 added; each whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    _torch_save(path, weights)
    with atomic_write(sidecar_path(path)) as file:
        file.write(json.dumps({**sidecar, "sha256": sha256(path)}, indent=1).encode() + b"\n")


def save_state(path: str | Path, state: dict) -> None:
    """Write the training state that belongs to the weights at ``path``."""
    _torch_save(state_path(path), state)


def load_state(path: str | Path) -> dict:
    """Read the training state that belongs to the weights at ``path``; only its ``run`` is known to be a dict."""
    state = load_torch(state_path(path), "a training state")
    if not isinstance(state, dict) or not isinstance(state.get("run"), dict):
        raise UserError(f"{state_path(path)} is not a training state: remove it and train again with --overwrite")
    return state


def check_state(path: str | Path, state: dict, network: nn.Module) -> None:
    """``UserError`` unless ``network`` can be trained on from ``state``, the one of the weights at ``path``."""
    try:
        fits = _is_state_of(state, network)
    except (AttributeError, KeyError, TypeError, ValueError):  # what is looked for is not even there
        fits = False
    if not fits:
        raise UserError(f"{state_path(path)} is not a training state of this network: remove it and train again "
                        "with --overwrite")


def _is_state_of(state: dict, network: nn.Module) -> bool:
    def like(tensors, others):
        return [(t.shape, t.dtype, t.layout) for t in tensors] == [(t.shape, t.dtype, t.layout) for t in others]

    weights, moments, parameters = network.state_dict(), state["optimizer"], list(network.parameters())
    figures = [value for record in state["history"] for value in record.values()]
    return (state["model"].keys() == weights.keys()
            and like(state["model"].values(), weights.values())
            and sorted(moments) == list(range(len(parameters)))
            and all(like((moment["step"], moment["exp_avg"], moment["exp_avg_sq"]),
                         (torch.zeros(()), parameters[i], parameters[i])) and len(moment) == 3
                    for i, moment in moments.items())
            and all({"loss", "val_loss", "seconds"} <= record.keys() for record in state["history"])
            and all(isinstance(figure, (int, float)) for figure in figures)
            and isinstance(state["done"], int) and state["done"] >= 0
            and state["tally"].keys() == {"loss", "correct", "pixels", "classified"}
            and all(math.isfinite(value) for value in state["tally"].values())
            and (state["done"] == 0 or state["tally"]["pixels"] > 0))


def may_begin(path: str | Path, overwrite: bool) -> None:
    """``UserError`` if there are weights at ``path``, or the state of a training that has saved none yet."""
    if not overwrite and (Path(path).exists() or state_path(path).exists()):
        raise UserError(f"{path} exists: to score it give --valid, to replace it --overwrite, "
                        "to go on training it --resume")


@contextmanager
def training_lock(path: str | Path) -> Iterator[None]:
    """Keep other runs from training to ``path`` meanwhile; ``UserError`` if one does already.

    What a run that was killed left half-written is removed.
    """
    path = Path(path)
    lock = path.with_name(f".{path.name}.lock")
    with locked(lock) as free:
        if not free:
            raise UserError(f"another run is training {path}: wait for it, or give another --checkpoint")
        for target in path, sidecar_path(path), state_path(path):
            for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
                leftover.unlink()
        yield


def _torch_save(path: str | Path, contents) -> None:
    memory = io.BytesIO()  # by way of memory: of a full disk PyTorch says nothing but "unexpected pos"
    torch.save(contents, memory)
    with atomic_write(path) as file:
        file.write(memory.getbuffer())


def _load_sidecar(path: Path) -> dict:
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return {}
    try:
        if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
            raise ValueError("too large")
        contents = json.loads(sidecar.read_bytes())
        if not isinstance(contents, dict) or not isinstance(contents.get("model", ""), str):
            raise ValueError("no sidecar")
        if any(len(str(contents.get(name))) > 1000 for name in ("model", "palette")):  # which messages quote
            raise ValueError("too long")
    except (ValueError, RecursionError):  # JSON and text decoding errors are of the former class
        warn(f"{sidecar} is damaged and left out of account")
        return {}
    if contents.get("sha256") != sha256(path):
        warn(f"{sidecar} was written for other weights than {path.name} and is left out of account")
        return {}
    return contents
