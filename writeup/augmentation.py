"""Question F, measured: which augmentation helps the UNet, if all have the same number of training steps?

    python -m writeup.augmentation

trains the UNet with 32 filters, from random weights, three seeds for each of: nothing, each augmentation
alone, and pre-training on the other nine categories of CIFAR-10 (fetched, or found in data/, as load_data.py
has it). Training is on 4,000 training horses, and scoring on the other 1,000, so the test horses choose
nothing. Figures are saved to outputs/augmentation.json after every run, and what is there is not trained again;
outputs/augmentation.png and a table follow.
"""

import json
import math
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from colour.data.cifar10 import HORSE, load_cifar10
from colour.jobs import plots
from colour.learning.augment import NAMES
from colour.learning.pictures import PictureSet, load_sets
from colour.learning.task import Classification
from colour.learning.training import Recipe, train
from colour.palette import Palette
from colour.system.cli import Parser, UserError, command, folder_for, number, progress
from colour.system.devices import pick_device
from colour.system.files import ROOT, atomic_write, display_path
from colourization import UNet

STUDY = ROOT / "outputs" / "augmentation.json"
HELD_OUT = 1000
RECIPE = Recipe(batch_size=50, learn_rate=0.01, schedule="onecycle")
PRETRAINED = "pretrained"
PRETRAINING = 0.4  # share of the steps that pre-training gets


def one_run(name: str, recipe: Recipe, task: Classification, horses: PictureSet, held_out: PictureSet,
            others: PictureSet) -> dict[str, float]:
    """Train one UNet for ``recipe.epochs`` passes over ``horses``, or for as many steps in part on ``others``.

    Returns ``loss`` and ``acc`` on ``held_out`` after the last epoch.
    """
    torch.manual_seed(recipe.seed)
    network = UNet(3, 32, task.num_outputs)
    if name == PRETRAINED:
        first = round(PRETRAINING * recipe.epochs)
        chosen = others[torch.randperm(len(others))[:first * len(horses)]]
        for _ in train(network, chosen, held_out, replace(recipe, epochs=1), task, progress=progress):
            pass
        recipe = replace(recipe, epochs=recipe.epochs - first)
    recipe = replace(recipe, augment=(name,) if name in NAMES else ())
    for state in train(network, horses, held_out, recipe, task, progress=progress):
        last = state["history"][-1]
    return {"loss": last["val_loss"], "acc": last["val_acc"]}


def summary(runs: list[dict]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return mean and standard deviation over the seeds of ``loss`` and ``acc``, by name; one seed has no deviation."""
    result = {}
    for name in dict.fromkeys(run["name"] for run in runs):
        of_name = [run for run in runs if run["name"] == name]
        result[name] = {figure: (statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan)
                        for figure in ("loss", "acc") for values in [[run[figure] for run in of_name]]}
    return result


def draw(path: Path, runs: list[dict]) -> None:
    """Draw loss and accuracy of every run as a dot, and their means as bars, by name."""
    means = summary(runs)
    with plots.matplotlib_defaults() as matplotlib:
        figure = matplotlib.figure.Figure((10, 3.8), layout="constrained")
        for axes, (key, label) in zip(figure.subplots(1, 2), (("loss", "cross-entropy"), ("acc", "accuracy"))):
            for place, name in enumerate(means):
                values = [run[key] for run in runs if run["name"] == name]
                axes.plot([place] * len(values), values, "o", color="C0", ms=5, alpha=0.6)
                axes.hlines(means[name][key][0], place - 0.3, place + 0.3, color="C1", lw=2)
            axes.set_xticks(range(len(means)), list(means), rotation=20)
            axes.set_ylabel(label)
            axes.grid(axis="y", alpha=0.3)
        figure.suptitle(f"UNet after the same number of steps, {HELD_OUT:,} held-out horses")
        plots.save_figure(figure, path)


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m writeup.augmentation", description=__doc__)
    parser.add_argument("-e", "--epochs", type=number(int, 3), default=20, metavar="E",
                        help="the budget, in passes over the horses")
    parser.add_argument("--seeds", type=number(int, 1, 100), default=3, metavar="S", help="runs of each kind")
    parser.add_argument("--data", metavar="DIR", help="where CIFAR-10 is (default: data/)")
    parser.add_argument("--outdir", metavar="DIR", default=STUDY.parent, help="where results go (default: outputs)")
    parser.add_argument("--gpu", action="store_true", help="use the machine's GPU")
    args = parser.parse_args(argv)
    device = pick_device(args.gpu)
    path = folder_for(args.outdir, "--outdir") / STUDY.name
    settings = {"batch_size": RECIPE.batch_size, "learn_rate": RECIPE.learn_rate, "schedule": RECIPE.schedule,
                "model": "UNet", "num_filters": 32, "epochs": args.epochs, "holdout": HELD_OUT,
                "pretraining": PRETRAINING}
    runs = earlier_runs(path, settings)

    task = Classification(Palette.load())
    horses, held_out = load_sets("horse", None, HELD_OUT, device, task)
    (x_train, y_train), _ = load_cifar10(args.data)
    x_others = x_train[y_train != HORSE]
    others = PictureSet(torch.from_numpy(x_others).to(device), task.labels(x_others).to(device))
    for seed in range(args.seeds):
        recipe = replace(RECIPE, epochs=args.epochs, seed=seed)
        for name in ("none", *NAMES, PRETRAINED):
            if any((run["name"], run["seed"]) == (name, seed) for run in runs):
                continue
            start = time.perf_counter()
            figures = one_run(name, recipe, task, horses, held_out, others)
            runs.append({"name": name, "seed": seed, **figures})
            with atomic_write(path) as file:
                file.write(json.dumps({"settings": settings, "runs": runs}, indent=1).encode() + b"\n")
            print(f"{name}, seed {seed}: Val Loss: {figures['loss']:.4f}, Val Acc: {figures['acc']:.1%}, "
                  f"{time.perf_counter() - start:.0f} s", flush=True)

    print(f"{'':12}{'loss':>8} {'spread':>8} {'accuracy':>10} {'spread':>8}")
    for name, figures in summary(runs).items():
        (loss, loss_spread), (acc, acc_spread) = figures["loss"], figures["acc"]
        print(f"{name:12}{loss:8.4f} {loss_spread:8.4f} {acc:10.1%} {acc_spread:8.1%}")
    picture = path.with_suffix(".png")
    draw(picture, runs)
    print(f"figures in {display_path(path)}, picture in {display_path(picture)}")


def earlier_runs(path: Path, settings: dict) -> list[dict]:
    """Return the runs that ``path`` has already; raises ``UserError`` if they are of another study, or damaged."""
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
