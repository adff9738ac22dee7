"""Score networks and draw what they make of the pictures."""

import argparse
import json
import math
from pathlib import Path

import torch
from torch import nn

from colour.data.datasets import choose
from colour.jobs import checkpoints
from colour.jobs.flags import sizes_of
from colour.learning.baselines import ALL_GREY, CEILING, baselines
from colour.learning.pictures import PictureSet, load_sets
from colour.learning.task import Decoding, Task
from colour.learning.training import evaluate
from colour.metrics import table
from colour.pixels import grey_of, to_rgb
from colour.system.cli import UserError, folder_for, warn
from colour.system.files import atomic_write, display_path

SHOWN = 10  # pictures in a strip


@torch.no_grad()
def colourings(network: nn.Module, task: Task, rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colour the grey of RGB pictures (N, 3, H, W) twice: as it is scored, and decoded to look like photographs."""
    grey = grey_of(rgb)
    output = network.eval()(grey)
    return task.colours(output, grey), task.photograph().colours(output, grey)


def draw_strip(network: nn.Module, task: Task, path: Path, pictures: PictureSet, title: str) -> None:
    """Draw the first pictures: grey, truth in palette colours, prediction, true picture, prediction as a photograph."""
    from colour.jobs import plots

    first = pictures[:SHOWN]
    rgb = to_rgb(first.images)
    prediction, photograph = colourings(network, task, rgb)
    truth = [] if task.palette is None else [(f"truth in\n{len(task.palette)} colours", task.palette.rgb(first.labels))]
    plots.comparison(path, [("grey", grey_of(rgb)), *truth, ("prediction", prediction), ("true picture", rgb),
                            ("prediction as\na photograph", photograph)], title)


def score_or_colour(args: argparse.Namespace, weights: str | Path, classifiers: dict, regressors: dict,
                    decoding: Decoding, device: torch.device, outdir: Path) -> int | None:
    """Do what the flags of either script ask of ``weights``: colour photos (--image), or score and draw the pictures.

    The networks are those of ``load_with_task``. Returns the exit status of photos.
    """
    loaded = checkpoints.load(weights)
    network, architecture, task = checkpoints.load_with_task(loaded, classifiers, regressors, args.colours, decoding,
                                                             **sizes_of(args))
    network.to(device)
    if args.image:
        from colour.jobs import photos

        return photos.colour_files(args.image, network, task, outdir=outdir, suffix=architecture.model, size=args.size)
    train_set, valid_set = load_sets(args.category, args.data, args.holdout, device, task)
    figures = evaluate(network, valid_set, task)
    summary = task.summary(figures)
    print(summary)
    warn_of_other_scores(loaded, figures, task, args)
    report({checkpoints.name_of(weights): figures}, baselines(train_set, valid_set, task.palette), args.metrics)
    label = checkpoints.label_of(weights)
    picture = outdir / f"eval_{label.replace('/', '_')}.png"
    draw_strip(network, task, picture, valid_set, f"{label}, {summary}")
    print(f"picture in {display_path(picture)}")


def warn_of_other_scores(weights: checkpoints.Weights, figures: dict, task: Task, args: argparse.Namespace) -> None:
    """Print a warning if the sidecar of ``weights`` states another loss for the pictures that ``args`` choose."""
    facts = weights.sidecar
    try:
        stated, loss = task.summary(facts["validation"]), float(facts["validation"]["loss"])
    except (ArithmeticError, KeyError, TypeError, ValueError):  # it has no sidecar, or an odd one
        return
    same_pictures = (facts.get("category"), facts.get("holdout")) == (
        choose(args.category, args.data).name, args.holdout)
    if same_pictures and not math.isclose(loss, figures["loss"], rel_tol=0.001):
        sidecar = checkpoints.sidecar_path(weights.path)
        warn(f"{weights.path} scores {task.summary(figures)}, but {sidecar} says {stated}: "
             "the network computes something else than the one that was trained, as with joins in another order")


def report(results: dict[str, dict], simple: dict[str, dict], metrics_file: str | None) -> None:
    """Print the scores of networks and of the baselines as a table, and save them as JSON to ``metrics_file``."""
    rows = {**simple, **results}
    for name in [name for name in rows if name.startswith(CEILING)]:  # no network can be better: the last row
        rows[name] = rows.pop(name)
    print(table(rows))
    if metrics_file:
        with atomic_write(metrics_file) as file:
            file.write(json.dumps(rows, indent=1).encode() + b"\n")
        print(f"scores in {display_path(metrics_file)}")


def check_metrics(path: str | None, job: str) -> None:
    """Raise ``UserError`` if --metrics cannot be written, names a file of another kind, or ``job`` has no scores."""
    if path is None:
        return
    if job not in ("valid", "compare"):
        raise UserError("--metrics saves the table of scores, which training and --image do not make: leave it out")
    folder_for(Path(path).parent, "--metrics")
    if Path(path).exists() and not _is_table(path):
        raise UserError(f"--metrics {path} exists and is not a table of scores: give another name")


def _is_table(path: str) -> bool:
    """Return whether a file is what ``report`` saved."""
    try:
        return ALL_GREY in dict(json.loads(Path(path).read_bytes()))
    except (OSError, TypeError, ValueError, RecursionError):  # what JSON decoding raises
        return False


def compare(args: argparse.Namespace, classifiers: dict, regressors: dict, decoding: Decoding, device: torch.device,
            outdir: Path) -> None:
    """Print the scores of the weight files of --compare, and draw how each of them colours the same pictures.

    Files of one name are labelled by their paths; the baselines of several palettes by the names of these.
    """
    from colour.jobs import plots

    files = [checkpoints.load(path) for path in args.compare]
    networks = [checkpoints.load_with_task(file, classifiers, regressors, args.colours, decoding) for file in files]
    train_set, valid_set = load_sets(args.category, args.data, args.holdout, device)
    simple = baselines(train_set, valid_set, None)
    palettes = {task.palette.path: task for _, _, task in networks if task.palette}
    for path, task in palettes.items():
        found = baselines(train_set.labelled(task), valid_set.labelled(task), task.palette)
        simple |= {name if name in simple or len(palettes) == 1 else f"{name}, {path.stem}": figures
                   for name, figures in found.items()}

    rgb = to_rgb(valid_set[:SHOWN].images)
    rows, results = [("grey", grey_of(rgb)), ("truth", rgb)], {}
    names = [checkpoints.name_of(path) for path in args.compare]
    for file, name, (network, _, task) in zip(files, names, networks, strict=True):
        name = name if names.count(name) == 1 else str(file.path)
        figures = results[name] = evaluate(network.to(device), valid_set.labelled(task), task)
        warn_of_other_scores(file, figures, task, args)
        caption = f"colour {figures['colour']:.2f} dB" + (f", {figures['acc']:.1%}" if "acc" in figures else "")
        prediction, photograph = colourings(network, task, rgb)
        rows += [(f"{name}\n{caption}", prediction), ("as a photograph", photograph)]
    plots.comparison(outdir / "compare.png", rows)
    report(results, simple, args.metrics)
    print(f"picture in {display_path(outdir / 'compare.png')}")
