"""Weights on disk: safe to load, atomic to save, and a sidecar that says where they come from.

``NAME.pkl`` holds the state dict alone, ``NAME.json`` beside it (the sidecar) how it was made and
what it scores, ``NAME.state.pt`` what ``--resume`` needs.
"""

import json
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

from colour.cli import UserError, warn
from colour.files import atomic_write, sha256

MAX_BYTES = 1 << 30  # the largest network here takes a few megabytes


class Shape(NamedTuple):
    """What the weights' shapes say about their network."""

    kernel: int
    num_filters: int
    num_colours: int
    skips: bool  # whether the grey input enters the last convolution, as in the UNets


def sidecar_path(path: str | Path) -> Path:
    return Path(path).with_suffix(".json")


def state_path(path: str | Path) -> Path:
    return Path(path).with_suffix(".state.pt")


def load(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read weights, on the CPU whatever device they were saved from, and their sidecar ({} if none).

    Nothing but tensors and plain containers is unpickled; PyTorch 0.3's format is read too. A
    sidecar that belongs to other weights is left out with a warning. Raises ``UserError`` for a
    file that is missing or does not hold a state dict of finite numbers.
    """
    path = Path(path)
    weights = _torch_load(path, "weights")
    if not isinstance(weights, dict) or not weights or not all(torch.is_tensor(value) for value in weights.values()):
        raise UserError(f"{path} holds no state dict: save weights with torch.save(model.state_dict(), FILE)")
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise UserError(f"{path} holds numbers that are not finite in {name}: the training that made it diverged")
    return weights, _load_sidecar(path)


def shape_of(weights: dict[str, torch.Tensor], path: str | Path) -> Shape:
    """Read kernel, filters and colours off the weights; ``UserError`` if they are of no network here."""
    first, last = weights.get("downconv1.0.weight"), weights.get("finalconv.weight")
    if first is None or last is None or first.dim() != 4 or last.dim() != 4:
        raise UserError(f"{path} holds weights of some other network: it has no downconv1.0.weight "
                        "and finalconv.weight of four dimensions")
    return Shape(first.shape[-1], first.shape[0], last.shape[0], skips=last.shape[1] == last.shape[0] + 1)


def save(path: str | Path, weights: dict[str, torch.Tensor], sidecar: dict) -> None:
    """Write the weights, then the sidecar with their SHA-256 added; each whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with atomic_write(path) as file:
        torch.save(weights, file)
    with atomic_write(sidecar_path(path)) as file:
        file.write(json.dumps({**sidecar, "sha256": sha256(path)}, indent=1).encode() + b"\n")


def save_state(path: str | Path, state: dict) -> None:
    """Write the training state that belongs to the weights at ``path``."""
    with atomic_write(state_path(path)) as file:
        torch.save(state, file)


def load_state(path: str | Path) -> dict:
    """Read the training state that belongs to the weights at ``path``."""
    state = _torch_load(state_path(path), "a training state")
    if not isinstance(state, dict) or not {"model", "optimizer", "scheduler", "history", "run"} <= state.keys():
        raise UserError(f"{state_path(path)} is not a training state: remove it and train again with --overwrite")
    return state


def _torch_load(path: Path, what: str):
    if not path.is_file():
        raise UserError(f"{path} is a folder, not a file of weights" if path.is_dir() else
                        f"there is no file {path}: check the name after --checkpoint, or train first")
    if not 0 < path.stat().st_size <= MAX_BYTES:
        raise UserError(f"{path} is {'empty' if not path.stat().st_size else 'too large'}: it cannot hold {what}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's own about its older formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged or foreign file fails in every way there is
        raise UserError(f"{path} does not hold {what} that PyTorch can load safely: it is damaged, "
                        f"or no file of weights at all ({type(error).__name__})") from error


def _load_sidecar(path: Path) -> dict:
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return {}
    try:
        contents = json.loads(sidecar.read_bytes())
        if not isinstance(contents, dict):
            raise ValueError("not an object")
    except ValueError:  # JSON and text decoding errors are of this class
        warn(f"{sidecar} is damaged and left out of account")
        return {}
    if contents.get("sha256") != sha256(path):
        warn(f"{sidecar} was written for other weights than {path.name} and is left out of account")
        return {}
    return contents
