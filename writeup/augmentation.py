"""Question F, measured: which augmentation helps the UNet, if all have the same number of training steps?

    python -m writeup.augmentation

trains the UNet with 32 filters, from random weights, three seeds for each of: nothing, each augmentation
alone, and pre-training on the other nine categories of CIFAR-10 (fetched, or found in data/, as load_data.py
has it). Training is on 4,000 training horses, and scoring on the other 1,000, so the test horses choose
nothing. Figures land in outputs/augmentation.json after every run, and what is there is not trained again;
outputs/augmentation.png and a table follow.
"""

import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch

from colour.augment import NAMES
from colour.cifar10 import HORSE, load_cifar10
from colour.cli import Parser, UserError, command, folder_for, number
from colour.devices import pick_device
from colour.files import ROOT, atomic_write, display_path
from colour.palette import Palette
from colourization import Data, UNet, load_sets, progress_bar, train

HELD_OUT = 1000
RECIPE = {"batch_size": 50, "learn_rate": 0.01, "schedule": "onecycle"}
PRETRAINED = "pretrained"
PRETRAINING = 0.4  # share of the steps that pre-training gets


def one_run(name: str, seed: int, horses: Data, held_out: Data, others: Data | None, epochs: int) -> dict[str, float]:
    """Train one UNet for ``epochs`` passes over ``horses``, or for as many steps in part on ``others``.

    Returns ``loss`` and ``acc`` on ``held_out`` after the last epoch.
    """
    torch.manual_seed(seed)
    network = UNet(3, 32, len(Palette.load()))
    augment = (name,) if name in NAMES else ()
    if name == PRETRAINED:
        first = round(PRETRAINING * epochs)
        chosen = torch.randperm(len(others.images))[:first * len(horses.images)]
        run(network, Data(others.images[chosen], others.labels[chosen]), held_out, f"{name}, others", seed, 1)
        epochs -= first
    history = run(network, horses, held_out, name, seed, epochs, augment)
    return {"loss": history[-1]["val_loss"], "acc": history[-1]["val_acc"]}


def run(network: UNet, data: Data, held_out: Data, name: str, seed: int, epochs: int, augment=()) -> list[dict]:
    def progress(batches, total):
        return progress_bar(f"{name}, seed {seed}", batches, total)

    for state in train(network, data, held_out, epochs=epochs, augment=augment, seed=seed, progress=progress, **RECIPE):
        history = state["history"]
    return history


def summary(runs: list[dict]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard deviation over the seeds of ``loss`` and ``acc``, by name; one seed has no deviation."""
    result = {}
    for name in dict.fromkeys(run["name"] for run in runs):
        of_name = [run for run in runs if run["name"] == name]
        result[name] = {figure: (statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan)
                        for figure in ("loss", "acc") for values in [[run[figure] for run in of_name]]}
    return result


def dots(path: Path, panels: dict[str, str], runs: list[dict], title: str) -> None:
    """Draw every run as a dot and the mean as a bar, by name, in one panel for each of ``panels`` (figure: label).

    ``runs`` have a ``name`` and the figures. Names come in the order of their first runs.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(run["name"] for run in runs))
    figure = Figure((5 * len(panels), 3.8), dpi=128, facecolor="white", layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        values = [[run[name] for run in runs if run["name"] == one] for one in names]
        for place, of_name in enumerate(values):
            axes.plot([place] * len(of_name), of_name, "o", color="C0", ms=5, alpha=0.6)
            axes.hlines(sum(of_name) / len(of_name), place - 0.3, place + 0.3, color="C1", lw=2)
        axes.set_xticks(range(len(names)), names, rotation=20)
        axes.set_ylabel(label)
        axes.grid(axis="y", alpha=0.3)
    figure.suptitle(title, parse_math=False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png")


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("-e", "--epochs", type=number(int, 3), default=20, metavar="E",
                        help="the budget, in passes over the horses")
    parser.add_argument("--seeds", type=number(int, 1, 100), default=3, metavar="S", help="runs of each kind")
    parser.add_argument("--data", metavar="DIR", help="where CIFAR-10 is (default: data/)")
    parser.add_argument("--outdir", metavar="DIR", default=ROOT / "outputs", help="where results go (default: outputs)")
    parser.add_argument("--gpu", action="store_true", help="use the machine's GPU")
    args = parser.parse_args(argv)
    device = pick_device(args.gpu)
    outdir = folder_for(args.outdir, "--outdir")
    path = outdir / "augmentation.json"
    settings = {**RECIPE, "model": "UNet", "num_filters": 32, "epochs": args.epochs, "holdout": HELD_OUT,
                "pretraining": PRETRAINING}
    runs = earlier_runs(path, settings)

    palette = Palette.load()
    horses, held_out = load_sets("horse", None, HELD_OUT, device, palette)
    (x_train, y_train), _ = load_cifar10(args.data)
    x_others = x_train[y_train != HORSE]
    others = Data(*(torch.from_numpy(array).to(device) for array in (x_others, palette.labels(x_others))))
    for seed in range(args.seeds):
        for name in ("none", *NAMES, PRETRAINED):
            if any((run["name"], run["seed"]) == (name, seed) for run in runs):
                continue
            start = time.perf_counter()
            figures = one_run(name, seed, horses, held_out, others, args.epochs)
            runs.append({"name": name, "seed": seed, **figures})
            with atomic_write(path) as file:
                file.write(json.dumps({"settings": settings, "runs": runs}, indent=1).encode() + b"\n")
            print(f"{name}, seed {seed}: Val Loss: {figures['loss']:.4f}, Val Acc: {figures['acc']:.1%}, "
                  f"{time.perf_counter() - start:.0f} s", flush=True)

    print(f"{'':12}{'loss':>8} {'spread':>8} {'accuracy':>10} {'spread':>8}")
    for name, figures in summary(runs).items():
        (loss, loss_spread), (acc, acc_spread) = figures["loss"], figures["acc"]
        print(f"{name:12}{loss:8.4f} {loss_spread:8.4f} {acc:10.1%} {acc_spread:8.1%}")
    picture = outdir / "augmentation.png"
    dots(picture, {"loss": "cross-entropy", "acc": "accuracy"}, runs,
         f"UNet after the same number of steps, {HELD_OUT:,} held-out horses")
    print(f"figures in {display_path(path)}, picture in {display_path(picture)}")


def earlier_runs(path: Path, settings: dict) -> list[dict]:
    """The runs that ``path`` has already; ``UserError`` if they are of another study, or it is damaged."""
    if not path.exists():
        return []
    try:
        study = json.loads(path.read_bytes())
        if study["settings"] == settings:
            return study["runs"]
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} holds another study: give another --outdir, or move it away")


if __name__ == "__main__":
    sys.exit(main())
