"""Score networks and draw what they make of the pictures."""

import json
from pathlib import Path

import torch
from torch import nn

from colour.learning.baselines import ALL_GREY, CEILING, MOST_FREQUENT, baselines
from colour.learning.networks import Architecture
from colour.learning.pictures import PictureSet
from colour.learning.task import Task
from colour.learning.training import evaluate
from colour.metrics import table
from colour.pixels import grey_of, to_rgb
from colour.system.cli import UserError, folder_for
from colour.system.files import atomic_write, display_path

SHOWN = 10  # pictures in a strip


@torch.no_grad()
def colourings(network: nn.Module, task: Task, rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colour the grey of RGB pictures (N, 3, H, W) twice: as it is scored, and decoded to look like photographs."""
    was_training = network.training
    network.eval()
    grey = grey_of(rgb)
    output = network(grey)
    network.train(was_training)
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


def score(network: nn.Module, task: Task, name: str, train_set: PictureSet, valid_set: PictureSet, picture: Path,
          metrics_file: str | None) -> None:
    """Print the scores of one network on the validation pictures, among the baselines, and draw the first ones."""
    figures = evaluate(network, valid_set, task)
    summary = task.summary(figures)
    print(summary)
    report({name: figures}, baselines(train_set, valid_set, task.palette), metrics_file)
    draw_strip(network, task, picture, valid_set, f"{name}, {summary}")
    print(f"picture in {display_path(picture)}")


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


def compare(files: list[str], networks: list[tuple[nn.Module, Architecture, Task]], train_set: PictureSet,
            valid_set: PictureSet, picture: Path, metrics_file: str | None) -> None:
    """Print the scores of several networks, and draw how each of them colours the same pictures.

    ``networks`` are those of the weight ``files``, each with its task. Files of one name are labelled by their paths;
    the baselines of several palettes by the names of these.
    """
    from colour.jobs import plots

    tasks = {task.palette and task.palette.path: task for _, _, task in networks}  # one for each palette
    sets = {path: (train_set.labelled(task), valid_set.labelled(task)) for path, task in tasks.items()}
    simple = {}
    for path, task in tasks.items():
        for name, figures in baselines(*sets[path], task.palette).items():
            of_palette = name in (MOST_FREQUENT, CEILING) and len(tasks.keys() - {None}) > 1
            simple[f"{name}, {path.stem}" if of_palette else name] = figures

    rgb = to_rgb(valid_set[:SHOWN].images)
    rows, results = [("grey", grey_of(rgb)), ("truth", rgb)], {}
    stems = [Path(file).stem for file in files]
    for file, stem, (network, _, task) in zip(files, stems, networks, strict=True):
        name = stem if stems.count(stem) == 1 else str(file)
        _, pictures = sets[task.palette and task.palette.path]
        figures = results[name] = evaluate(network.to(rgb.device), pictures, task)
        caption = f"colour {figures['colour']:.2f} dB" + (f", {figures['acc']:.1%}" if "acc" in figures else "")
        prediction, photograph = colourings(network, task, rgb)
        rows += [(f"{name}\n{caption}", prediction), ("as a photograph", photograph)]
    plots.comparison(picture, rows)
    report(results, simple, metrics_file)
    print(f"picture in {display_path(picture)}")
