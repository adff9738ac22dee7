"""Weights on disk: safe to load, written whole, with a sidecar that says where they come from.

``NAME.pkl`` holds the state dict alone. ``NAME.json``, the sidecar, says how it was made and what it scores.
``NAME.state.pt`` is what ``--resume`` needs.
"""

import io
import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from colour.learning.task import Task
from colour.palette import DEFAULT, MAX_COLOURS
from colour.system.cli import UserError, warn
from colour.system.files import ROOT, atomic_write, sha256
from colour.system.untrusted import load_torch

PHOTO_WEIGHTS = ROOT / "weights" / "unet_k3_f64_all.pkl"  # have seen more than horses
MAX_SIDECAR_BYTES = 1 << 25
WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")  # DataParallel and torch.compile put these before each name
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Architecture(NamedTuple):
    """Say which network a file holds: its name, and the arguments that build it."""

    model: str
    kernel: int
    num_filters: int
    num_outputs: int

    def build(self, networks: dict) -> nn.Module:
        return networks[self.model](self.kernel, self.num_filters, self.num_outputs)


def shipped_weights(model: str, kernel: int | None = None, num_filters: int | None = None) -> Path:
    """Return the path of the weights in weights/ that are used when no checkpoint is given."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", model).lower()  # RegressionCNN: regression_cnn
    return ROOT / "weights" / f"{name}_k{kernel or 3}_f{num_filters or 32}.pkl"


def palette_of(path: str | Path | None) -> Path:
    """Return the palette in colour/ that the sidecar of weights names; the default one if there is none."""
    name = _load_sidecar(Path(path), warn=lambda message: None).get("palette") if path else None
    palette = ROOT / str(name)
    return palette if palette.parent == DEFAULT.parent and palette.is_file() else DEFAULT


def new_weights(architecture: Architecture) -> Path:
    """Return where a training without --checkpoint saves: in outputs/, so that shipped weights are not overwritten."""
    return ROOT / "outputs" / shipped_weights(*architecture[:3]).name


def sidecar_path(path: str | Path) -> Path:
    return _beside(path, ".json")


def state_path(path: str | Path) -> Path:
    return _beside(path, ".state.pt")


def _beside(path: str | Path, suffix: str) -> Path:
    path = Path(path)  # only .pkl is replaced: the runs lr0.1 and lr0.2 must not share a sidecar
    return path.with_name(path.name.removesuffix(".pkl") + suffix)


# ------------------------------------------------------------------------------------------------
# Weights and their sidecar


def load(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read weights to the CPU, whatever device they were saved from, and their sidecar ({} if none).

    Only tensors and plain containers are unpickled; PyTorch 0.3's format is read too. A sidecar that belongs to other
    weights is ignored with a warning. Raises ``UserError`` if the file is missing or is not a state dict of finite
    numbers.
    """
    path = Path(path)
    weights = load_torch(path, "weights")
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(name, str) and torch.is_tensor(value) for name, value in weights.items()):
        if isinstance(weights, dict) and weights.keys() >= {"model", "optimizer", "history"}:
            raise UserError(f"{path} is the state of a training, not weights: give its .pkl, or go on with --resume")
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
    # Drop PyTorch's version marks: with them, load_state_dict demands counters that older files lack.
    return {WRAPPERS.sub("", name): value for name, value in weights.items()}, _load_sidecar(path)


def save(path: str | Path, weights: dict[str, torch.Tensor], sidecar: dict) -> None:
    """Write the weights, then the sidecar with their SHA-256 added; each whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    _save_torch(path, weights)
    with atomic_write(sidecar_path(path)) as file:
        file.write(json.dumps({**sidecar, "sha256": sha256(path)}, indent=1).encode() + b"\n")


def _load_sidecar(path: Path, warn=warn) -> dict:
    sidecar = sidecar_path(path)
    if not sidecar.is_file() or not path.is_file():
        return {}
    try:
        if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
            raise ValueError("too large")
        contents = json.loads(sidecar.read_bytes())
        if not isinstance(contents, dict) or not isinstance(contents.get("model", ""), str):
            raise ValueError("no sidecar")
        if any(len(str(contents.get(name))) > 1000 for name in ("model", "palette")):  # messages quote these
            raise ValueError("too long")
    except (ValueError, RecursionError):  # JSON and text decoding errors are ValueErrors
        warn(f"{sidecar} is damaged: ignored")
        return {}
    if contents.get("sha256") != sha256(path):
        warn(f"{sidecar} was written for other weights than {path.name}: ignored")
        return {}
    return contents


def _save_torch(path: str | Path, contents) -> None:
    memory = io.BytesIO()  # via memory, because on a full disk torch.save reports only "unexpected pos"
    torch.save(contents, memory)
    with atomic_write(path) as file:
        file.write(memory.getbuffer())


# ------------------------------------------------------------------------------------------------
# The network that a file belongs to


def load_network(path: str | Path, networks: dict, task: Task | None = None, *, model: str | None = None,
                 kernel: int | None = None,
                 num_filters: int | None = None) -> tuple[nn.Module, Architecture, dict]:
    """Return the network that the weights at ``path`` belong to (eval mode, CPU), its architecture and the sidecar.

    ``networks`` are the candidates: classes by name, called with kernel, num_filters and num_outputs. What is not
    given is read off the sidecar ({} if there is none) and the weights: the network is the first whose parameters
    have the names and shapes of the file. Raises ``UserError``, which names the flag, if something given disagrees,
    or if the weights are not for ``task``.
    """
    weights, sidecar = load(path)
    kernel_found, filters_found, num_outputs = _sizes_of(weights, path)
    for flag, asked, found in (("--kernel", kernel, kernel_found), ("--num_filters", num_filters, filters_found)):
        if asked not in (None, found):
            raise UserError(f"{flag} {asked} does not fit {path}, which has {found}: leave out {flag}")
    if task is not None:
        task.check(path, sidecar, num_outputs)
    if model not in (None, sidecar.get("model", model)):
        raise UserError(f"{path} holds a {sidecar['model']} according to its sidecar, not a {model}: "
                        f"give --model {sidecar['model']}")
    known = sidecar.get("model", model)
    candidates = {name: Architecture(name, kernel_found, filters_found, num_outputs) for name in networks}
    # Build others only if needed: students may not have written them yet.
    tried = [known] if known in networks and not _misfit(candidates[known], networks, weights) else networks
    misfits = {name: _misfit(candidates[name], networks, weights) for name in tried}
    fitting = [name for name in tried if not misfits[name]]
    if not fitting:
        closest = known if known in networks else min(networks, key=lambda name: misfits[name][0])
        raise _other_network(path, misfits[closest][1])
    if known is not None and known not in fitting:
        remedy = (f"its sidecar is wrong, remove {sidecar_path(path)}" if "model" in sidecar
                  else f"give --model {fitting[0]}")
        raise UserError(f"{path} does not hold a {known}: its shapes are those of a {fitting[0]}, {remedy}")
    architecture = candidates[known or fitting[0]]
    network = architecture.build(networks)
    network.load_state_dict(weights)
    return network.to(memory_format=torch.channels_last).eval(), architecture, sidecar


def _sizes_of(weights: dict[str, torch.Tensor], path: str | Path) -> tuple[int, int, int]:
    """Return kernel, filters and outputs: the first convolution has the former two, the last the latter."""
    filters = {name: value for name, value in weights.items() if value.dim() == 4}
    for name, value in filters.items():
        if not value.numel():
            raise _other_network(path, f"{name} has the shape {tuple(value.shape)}")
    if not filters:
        raise _other_network(path, "it has no convolutions")
    if len(value) > MAX_COLOURS:  # of the last one
        raise _other_network(path, f"{name} has the shape {tuple(value.shape)}")
    first, *_, last = [*filters.values()] * 2
    num_filters, _, _, kernel = first.shape
    if kernel % 2 == 0:
        raise _other_network(path, f"its kernel of {kernel} is even")
    return kernel, num_filters, len(last)


def _misfit(architecture: Architecture, networks: dict, weights: dict[str, torch.Tensor]) -> tuple[int, str] | None:
    """Count the weights that such a network does not have as they are, and say what is wrong with one; None if none."""
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims
        expected = {name: value.shape for name, value in architecture.build(networks).state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    wrong = {}
    for name in expected.keys() | found.keys():
        if name not in found:
            if not name.endswith("num_batches_tracked"):  # PyTorch 0.3 did not count them
                wrong[name] = f"{name} is missing"
        elif name not in expected:
            wrong[name] = f"{name} is not part of it"
        elif found[name] != expected[name]:
            wrong[name] = f"{name} has the shape {tuple(found[name])}, not {tuple(expected[name])}"
    # What is missing comes first: without the first layer, the others seem to have wrong shapes.
    return (len(wrong), min(wrong.values(), key=lambda why: (not why.endswith("missing"), why))) if wrong else None


def _other_network(path: str | Path, why: str) -> UserError:
    return UserError(f"{path} holds weights of another network ({why}): give weights of this project")


# ------------------------------------------------------------------------------------------------
# The training state


def save_state(path: str | Path, state: dict) -> None:
    """Write the training state that belongs to the weights at ``path``."""
    _save_torch(state_path(path), state)


def load_state(path: str | Path) -> dict | None:
    """Read the training state that belongs to the weights at ``path``, None if there are neither.

    Only its ``run`` is known to be a dict. Raises ``UserError`` if it is damaged, or if there are only weights.
    """
    if not state_path(path).exists():
        if Path(path).exists():
            raise UserError(f"there is no {state_path(path)} to resume {path} from: start from its weights with "
                            "--init, and another --checkpoint")
        return None
    state = load_torch(state_path(path), "a training state")
    if not isinstance(state, dict) or not isinstance(state.get("run"), dict):
        raise UserError(f"{state_path(path)} is not a training state: remove it and train again with --overwrite")
    return state


def check_state(path: str | Path, state: dict, network: nn.Module, moments: dict) -> None:
    """Raise ``UserError`` unless ``network`` can be trained on from ``state``, the one of the weights at ``path``.

    ``moments`` are an example of what the optimizer remembers.
    """
    try:
        fits = _is_state_of(state, network, moments)
    except (AttributeError, KeyError, TypeError, ValueError):  # something is missing or of another type
        fits = False
    if not fits:
        raise UserError(f"{state_path(path)} is not a training state of this network: remove it and train again "
                        "with --overwrite")


def _is_state_of(state: dict, network: nn.Module, moments: dict) -> bool:
    def like(tensors, others):
        return tensors.keys() == others.keys() and all(
            (tensors[name].shape, tensors[name].dtype, tensors[name].layout) == (t.shape, t.dtype, t.layout)
            for name, t in others.items())

    figures = [value for record in state["history"] for value in record.values()]
    return (like(state["model"], network.state_dict())
            and state["optimizer"].keys() == moments.keys()
            and all(like(state["optimizer"][i], moment) for i, moment in moments.items())
            and all({"loss", "val_loss", "seconds"} <= record.keys() for record in state["history"])
            and all(isinstance(figure, (int, float)) for figure in figures)
            and isinstance(state["done"], int) and state["done"] >= 0
            and state["tally"].keys() == {"loss", "correct", "pixels", "classified"}
            and all(math.isfinite(value) for value in state["tally"].values())
            and (state["done"] == 0 or state["tally"]["pixels"] > 0))
