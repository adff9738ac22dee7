"""Score networks and draw what they make of the pictures."""

import json
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from colour.jobs import checkpoints
from colour.learning.task import Classification, Regression, Task
from colour.learning.training import PictureSet, evaluate
from colour.metrics import ALL_GREY, baselines, table
from colour.pixels import grey_of, to_rgb
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
    report({name: figures}, train_set, valid_set, task, metrics_file)
    draw_strip(network, task, picture, valid_set, f"{name}, {summary}")
    print(f"picture in {display_path(picture)}")


def report(results: dict[str, dict], train_set: PictureSet, valid_set: PictureSet, task: Task,
           metrics_file: str | None) -> None:
    """Print the scores of networks and of the baselines as a table, and save them as JSON to ``metrics_file``."""
    rows = {**baselines(train_set.images, train_set.labels, valid_set.images, valid_set.labels, task.palette),
            **results}
    print(table(rows))
    if metrics_file:
        with atomic_write(metrics_file) as file:
            file.write(json.dumps(rows, indent=1).encode() + b"\n")
        print(f"scores in {display_path(metrics_file)}")


def is_table(path: str) -> bool:
    """Return whether a file is what ``report`` saved."""
    with suppress(OSError, TypeError, ValueError, RecursionError):
        return ALL_GREY in dict(json.loads(Path(path).read_bytes()))
    return False


def compare(files: list[str], networks: dict, task: Classification, train_set: PictureSet, valid_set: PictureSet,
            picture: Path, metrics_file: str | None) -> None:
    """Print the scores of several weight files, and draw how each of them colours the same pictures.

    ``networks`` has the classes by name, ``RegressionCNN`` among them, whose task is regression. Two files of one
    name are labelled by their paths.
    """
    from colour.jobs import plots

    first = valid_set[:SHOWN]
    rgb = to_rgb(first.images)
    rows, results = [("grey", grey_of(rgb)), ("truth", rgb)], {}
    for path in map(Path, files):
        network, architecture, sidecar = checkpoints.load_network(path, networks)
        own_task = Regression(task.keep_grey) if architecture.model == "RegressionCNN" else task
        own_task.check(path, sidecar, architecture.num_outputs)
        network.to(first.images.device)
        pictures = valid_set if own_task.palette else PictureSet(valid_set.images)
        figures = evaluate(network, pictures, own_task)
        name = path.stem if [Path(file).stem for file in files].count(path.stem) == 1 else str(path)
        results[name] = figures
        caption = f"colour {figures['colour']:.2f} dB" + (f", {figures['acc']:.1%}" if "acc" in figures else "")
        prediction, photograph = colourings(network, own_task, rgb)
        rows += [(f"{name}\n{caption}", prediction), ("as a photograph", photograph)]
    plots.comparison(picture, rows)
    report(results, train_set, valid_set, task, metrics_file)
    print(f"picture in {display_path(picture)}")
