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

from colour.learning.networks import KERNEL, MODEL, NUM_FILTERS, Architecture, output_layer
from colour.learning.task import Classification, Decoding, Regression, Task
from colour.palette import DEFAULT, MAX_COLOURS, Palette
from colour.system.cli import UserError, warn
from colour.system.files import ROOT, atomic_write, display_path, sha256
from colour.system.untrusted import load_torch

PHOTO_WEIGHTS = ROOT / "weights" / "unet_k3_f64_all.pkl"  # trained on all of CIFAR-10
MAX_SIDECAR_BYTES = 1 << 25
MAX_SIZE = 4096  # the largest number that a sidecar may state
WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")  # DataParallel and torch.compile put these before each name
FIGURES = {"loss", "acc", "val_loss", "val_acc", "val_colour", "seconds"}  # of an epoch
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def shipped_weights(model: str | None, kernel: int | None = None, num_filters: int | None = None) -> Path:
    """Return the path of the weights in weights/ that are used when no checkpoint is given."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", model or MODEL).lower()  # RegressionCNN: regression_cnn
    return ROOT / "weights" / f"{name}_k{kernel or KERNEL}_f{num_filters or NUM_FILTERS}.pkl"


def palette_of(sidecar: dict) -> Path:
    """Return the palette in colour/ that a sidecar names; the default one if it names none."""
    palette = ROOT / str(sidecar.get("palette"))
    return palette if palette.parent == DEFAULT.parent and palette.is_file() else DEFAULT


def new_weights(architecture: Architecture) -> Path:
    """Return where a training without --checkpoint saves: in outputs/, so that shipped weights are not overwritten."""
    return ROOT / "outputs" / shipped_weights(*architecture[:3]).name


def name_of(path: str | Path) -> str:
    """Return what pictures and tables call weights. Only .pkl goes: lr0.1 and lr0.2 are two trainings."""
    return Path(path).name.removesuffix(".pkl")


def sidecar_path(path: str | Path) -> Path:
    return _beside(path, ".json")


def state_path(path: str | Path) -> Path:
    return _beside(path, ".state.pt")


def files_of(path: str | Path) -> list[Path]:
    """Return the files that a training with this checkpoint writes: weights, sidecar and state."""
    return [Path(path), sidecar_path(path), state_path(path)]


def _beside(path: str | Path, suffix: str) -> Path:
    return Path(path).with_name(name_of(path) + suffix)


def label_of(path: str | Path) -> str:
    """Return what pictures call weights: with their folder, because a student's file may be named as a shipped one."""
    folder = display_path(path).parent.name
    return f"{folder}/{name_of(path)}" if folder else name_of(path)


# ------------------------------------------------------------------------------------------------
# Weights and their sidecar


class Weights(NamedTuple):
    """What ``load`` read: a state dict on the CPU, and its sidecar, {} if it has none."""

    state: dict[str, torch.Tensor]
    sidecar: dict
    path: Path


def load(path: str | Path) -> Weights:
    """Read weights, whatever device they were saved from, and their sidecar.

    Only tensors and plain containers are unpickled; PyTorch 0.3's format is read too. A sidecar that belongs to other
    weights is ignored, with a warning. Raises ``UserError`` if the file is missing or is no state dict of finite
    numbers.
    """
    path = Path(path)
    state = load_torch(path, "weights")
    if not isinstance(state, dict) or not state or not all(
            isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()):
        if isinstance(state, dict) and state.keys() >= {"model", "optimizer", "history"}:
            raise UserError(f"{path} is the state of a training, not weights: give its .pkl, or go on with --resume")
        raise UserError(f"{path} holds no state dict: save weights with torch.save(model.state_dict(), FILE)")
    size = path.stat().st_size
    for name, value in state.items():
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
    return Weights({WRAPPERS.sub("", name): value for name, value in state.items()}, _load_sidecar(path), path)


def save(path: str | Path, weights: dict[str, torch.Tensor], sidecar: dict) -> None:
    """Write the weights, then the sidecar with their SHA-256 added; each whole or not at all."""
    weights = {name: value.detach().cpu() for name, value in weights.items()}
    _save_torch(path, weights)
    with atomic_write(sidecar_path(path)) as file:
        file.write(json.dumps({**sidecar, "sha256": sha256(path)}, indent=1).encode() + b"\n")


def _load_sidecar(path: Path) -> dict:
    """Read the sidecar of the weights at ``path``: {} if it has none that is whole and was written for them."""
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
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


def load_network(weights: Weights, networks: dict, task: Task | None = None, *, model: str | None = None,
                 kernel: int | None = None, num_filters: int | None = None) -> tuple[nn.Module, Architecture]:
    """Return the network that ``weights`` belong to (eval mode, CPU), and its architecture.

    ``networks`` are the candidates: classes by name. The sidecar says which it is, and its sizes. Without one the
    flags say it, and what they leave out is guessed from the names and shapes in the file. Raises ``UserError``,
    which names the flag, if ``model``, ``kernel`` or ``num_filters`` is given and disagrees, or if the weights are not
    for ``task``.
    """
    state, sidecar, path = weights
    found_kernel, found_filters, num_outputs = _sizes_of(weights)
    sizes = kernel or found_kernel, num_filters or found_filters, num_outputs
    if task is not None:
        task.check(path, sidecar, num_outputs)
    stated = sidecar.get("model")
    if stated and model not in (None, stated):
        raise UserError(f"{path} holds a {stated} according to {sidecar_path(path)}, not a {model}: "
                        f"give --model {stated}")
    name = stated or model or _most_alike(networks, sizes, state)
    if name not in networks:
        raise UserError(f"{path} holds a {name} according to {sidecar_path(path)}, which is none of "
                        f"{', '.join(networks)}: give other weights")
    architecture = Architecture(name, *sizes)
    if differences := _differences(architecture, networks, state):
        for flag, given, found in ("--kernel", kernel, found_kernel), ("--num_filters", num_filters, found_filters):
            if given not in (None, found):
                raise UserError(f"{flag} {given} does not fit {path}, which has {found}: leave out {flag}")
        remedy = f"correct {name}, or give " + ("other weights" if stated else "the --model that these weights are of")
        raise UserError(f"your {name} does not fit {path}: {differences[0]}: {remedy}")
    network = architecture.build(networks)
    network.load_state_dict(state)
    output_layer(network, num_outputs)
    return network.eval(), architecture


def load_with_task(weights: Weights, classifiers: dict, regressors: dict, colours: str | None, decoding: Decoding,
                   **sizes) -> tuple[nn.Module, Architecture, Task]:
    """Return a network and its architecture as ``load_network``, and its task.

    Regression is the task of the ``regressors``, classification that of the ``classifiers``: with the palette at
    ``colours`` or the one that the sidecar names. Either may be {}.
    """
    model = weights.sidecar.get("model") or sizes.get("model")
    if not (classifiers and regressors):
        regression = bool(regressors)
    elif model:
        regression = model in regressors
    else:  # a RegressionCNN and a CNN have the same layers
        regression = _sizes_of(weights)[2] == Regression.num_outputs
    if regression:
        task = Regression(decoding)
    else:
        task = Classification(Palette.load(colours or palette_of(weights.sidecar)), decoding)
    return *load_network(weights, regressors if regression else classifiers, task, **sizes), task


def start_network(networks: dict, task: Task, init: Weights | None, seed: int, *, model: str | None,
                  kernel: int | None, num_filters: int | None) -> tuple[nn.Module, Architecture]:
    """Return the network to train, and its architecture: with the weights ``init``, or random ones.

    Raises ``UserError`` as ``load_network``.
    """
    torch.manual_seed(seed)
    if init:
        return load_network(init, networks, task, model=model, kernel=kernel, num_filters=num_filters)
    architecture = Architecture(model or MODEL, kernel or KERNEL, num_filters or NUM_FILTERS, task.num_outputs)
    network = architecture.build(networks)
    output_layer(network, task.num_outputs)
    return network, architecture


def _sizes_of(weights: Weights) -> tuple[int, int, int]:
    """Return kernel, filters and outputs: what the sidecar states, the rest by the shapes of the filters.

    In the assignment's networks the first filter has kernel and filters, and the last one the outputs.
    """
    state, sidecar, path = weights
    shapes = {name: tuple(value.shape) for name, value in state.items() if value.dim() == 4}
    if not shapes:
        raise _other_network(path, "it has no convolutions")
    for name, shape in shapes.items():
        if 0 in shape:
            raise _other_network(path, f"{name} has the shape {shape}")
    first, last = next(iter(shapes)), next(reversed(shapes))

    def stated(name: str, guess: int) -> int:
        size = sidecar.get(name)
        return size if type(size) is int and 0 < size <= MAX_SIZE else guess

    kernel = stated("kernel", shapes[first][3])
    num_filters = stated("num_filters", shapes[first][0])
    num_outputs = stated("num_outputs", shapes[last][0])
    if num_outputs > MAX_COLOURS:
        raise _other_network(path, f"{last} has the shape {shapes[last]}")
    if kernel % 2 == 0:
        raise _other_network(path, f"its kernel of {kernel} is even")
    return kernel, num_filters, num_outputs


def _most_alike(networks: dict, sizes: tuple[int, int, int], weights: dict) -> str:
    """Return the name of the network that differs least from the weights; of several, the first."""

    def distance(name: str) -> float:
        try:
            return len(_differences(Architecture(name, *sizes), networks, weights))
        except NotImplementedError:  # a student has yet to write it
            return math.inf

    return min(networks, key=distance)


def _differences(architecture: Architecture, networks: dict, weights: dict[str, torch.Tensor]) -> list[str]:
    """Return what differs between the parameters of a network and these weights: missing, unknown, of other shapes."""
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims
        network = architecture.build(networks)
    ours = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in weights.items()}
    counters = {name for name in ours if name.endswith("num_batches_tracked")}  # PyTorch 0.3 had none
    missing = [name for name in theirs if name not in ours]
    more = [name for name in ours if name not in theirs.keys() | counters]
    return [*(f"{architecture.model} has no {name}" + (f", but {more[0]}" if more else "") for name in missing),
            *(f"the file has no {name}" for name in more),
            *(f"{name} is {shape}, should be {theirs[name]}"
              for name, shape in ours.items() if name in theirs and theirs[name] != shape)]


def _other_network(path: str | Path, why: str) -> UserError:
    return UserError(f"{path} holds weights of another network ({why}): give weights of this project")


# ------------------------------------------------------------------------------------------------
# The training state


def save_state(path: str | Path, state: dict) -> None:
    """Write the training state that belongs to the weights at ``path``."""
    _save_torch(state_path(path), state)


def load_state(path: str | Path) -> dict | None:
    """Read the training state that belongs to the weights at ``path``, None if there are neither.

    Only its ``run`` is checked: a dict of plain values. Raises ``UserError`` if it is damaged, or if there are only
    weights.
    """
    if not state_path(path).exists():
        if Path(path).exists():
            raise UserError(f"there is no {state_path(path)} to resume {path} from: start from its weights with "
                            "--init, and another --checkpoint")
        return None
    state = load_torch(state_path(path), "a training state")
    if not isinstance(state, dict) or not isinstance(state.get("run"), dict):
        raise _no_state(path)
    for name, value in state["run"].items():
        parts = value if isinstance(value, tuple) else [value]  # --augment
        if not isinstance(name, str) or any(type(part) not in (str, int, float, bool, type(None)) for part in parts):
            raise _no_state(path)
    return state


def check_state(path: str | Path, state: dict, expected: dict, epochs: int | None, steps: int) -> None:
    """Raise ``UserError`` unless a training can go on from ``state``, the one of the weights at ``path``.

    ``expected`` is an example of such a state. An epoch has ``steps`` batches; a schedule may end after ``epochs``.
    """
    try:
        history, done = state["history"], state["done"]
        fits = (all(_alike(state[name], expected[name]) for name in expected)
                and 0 <= done < steps and (done == 0 or state["tally"]["pixels"] > 0)
                and (epochs is None or len(history) * steps + done <= epochs * steps)
                and all({"loss", "val_loss", "seconds"} <= record.keys() == history[0].keys() <= FIGURES
                        and all(type(value) in (int, float) and math.isfinite(value) for value in record.values())
                        for record in history))
    except (AttributeError, KeyError, OverflowError, RuntimeError, TypeError):  # missing, or of another type
        fits = False
    if not fits:
        raise _no_state(path)


def _alike(found, expected) -> bool:
    """Tell whether a part of a state has the type, the names and the shape of an example."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_alike(found[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return type(found) is list
    if torch.is_tensor(found) and not torch.is_tensor(expected):  # earlier versions saved sums as tensors
        found = found.item() if found.numel() == 1 and found.device.type == "cpu" else None
    if torch.is_tensor(expected):
        return (torch.is_tensor(found) and found.shape == expected.shape and found.dtype == expected.dtype
                and found.layout == expected.layout and found.device.type == "cpu")
    return type(found) in {int, type(expected)} and math.isfinite(found)


def _no_state(path: str | Path) -> UserError:
    return UserError(f"{state_path(path)} is not a training state of this network: remove it and train again "
                     "with --overwrite")
