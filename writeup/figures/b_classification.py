"""B: the scores of all shipped weights, beside the handout's and what needs no network; pictures of the CNN."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import fields, replace

from colour.jobs.results import colourings
from colour.learning.baselines import ALL_GREY, CEILING, MEAN_COLOUR, MOST_FREQUENT, baselines
from colour.learning.training import Recipe
from colour.system.files import ROOT
from writeup.figures.common import RULE, TITLES, WEIGHTS, Horses, Values, load_shipped, save_row, save_table, score

BASELINES = {ALL_GREY: "allgrey", MOST_FREQUENT: "bylevel", MEAN_COLOUR: "bylevel_mean", CEILING: "ceiling"}
# What the weights of the original handout score on the same horses. They are not ours to ship: measured once.
HANDOUT_REGRESSION = {"regression_cnn_k3_f32": 0.00627, "regression_cnn_k3_f16": 0.00711}  # loss
HANDOUT = {  # colour of the most probable and of the mean colour (dB), loss, accuracy
    "cnn_k3_f32": (23.91, 24.80, 1.581, 0.412),
    "cnn_k3_f16": (23.91, 24.71, 1.632, 0.403),
    "unet_k3_f32": (23.89, 24.69, 1.379, 0.482),
    "unet_k3_f16": (23.92, 24.77, 1.344, 0.487),
    "dunet_k3_f32": (23.35, 24.30, 1.449, 0.454),
    "dunet_k3_f16": (23.34, 24.15, 1.389, 0.471),
}


def make(values: Values, horses: Horses) -> None:
    recipes(values)
    for name in WEIGHTS:
        network, task = load_shipped(name, horses.palette)
        values.put_figures(name, score(network, task, horses))
        if task.palette:
            values.put_figures(f"{name}_mean", score(network, replace(task, decoder="mean"), horses))
    for name, loss in HANDOUT_REGRESSION.items():
        values.put_figures(f"handout.{name}", {"loss": loss})
    for name, (colour, mean_colour, loss, accuracy) in HANDOUT.items():
        values.put_figures(f"handout.{name}", {"colour": colour, "loss": loss, "acc": accuracy})
        values.put_figures(f"handout.{name}_mean", {"colour": mean_colour})
    others = baselines(horses.train, horses.valid, horses.palette)
    for name, prefix in BASELINES.items():
        values.put_figures(prefix, others[name])
    values.put("truth.colourfulness", others[CEILING]["true_colourfulness"], ".1f")
    table_of_scores(values)

    network, task = load_shipped("cnn_k3_f32", horses.palette)
    save_row("strip_ceiling", horses.palette.rgb(horses.valid.labels[:len(horses.shown)]))
    save_row("strip_cnn", colourings(network, task, horses.shown)[0])
    save_row("strip_cnn_mean", colourings(network, replace(task, decoder="mean"), horses.shown)[0])


def recipes(values: Values) -> None:
    """Put the flags that trained the shipped weights, and how many different trainings those of classification had."""
    sidecars = {name: json.loads((ROOT / "weights" / f"{name}.json").read_text()) for name in WEIGHTS}
    for name in HANDOUT_REGRESSION:
        values.put(f"{name}.epochs", sidecars.pop(name)["epochs"])
    values.put("shipped.recipes", len({tuple(str(sidecar[field.name]) for field in fields(Recipe))
                                       for sidecar in sidecars.values()}))
    recipe = sidecars["cnn_k3_f32"]
    flags = (f"--optimizer {recipe['optimizer']} --schedule {recipe['schedule']} -l {recipe['learn_rate']} "
             f"-b {recipe['batch_size']} -e {recipe['epochs']} --augment {','.join(recipe['augment'])}")
    values.put("shipped.recipe", flags.replace("--", "-{}-"))  # LaTeX would make a dash of two hyphens
    values.put("shipped.epochs", recipe["epochs"])


def table_of_scores(values: Values) -> None:
    """Write the table: colour first; ours and the handout's beside each other."""
    def row(title: str, name: str) -> list[str]:
        columns = (name, "colour"), (f"{name}_mean", "colour"), (name, "loss"), (name, "acc")
        cells = (values.cells(prefix, key) + values.cells(f"handout.{prefix}", key) for prefix, key in columns)
        return [title, *itertools.chain(*cells), *values.cells(name, "colourfulness")]

    groups = "most probable", "mean", "loss", r"accuracy (\%)"
    shipped = [row(rf"{TITLES[stem]}, $f={filters}$", f"{stem}_k3_f{filters}")
               for stem, filters in (name.rsplit("_k3_f", 1) for name in WEIGHTS)]
    save_table("scores", "l" + 4 * r"r@{\enspace}>{\color{black!55}}r" + "r", [
        r" & \multicolumn{4}{c}{colour (dB)} \\",
        ["", *(rf"\multicolumn{{2}}{{c}}{{{group}}}" for group in groups), ""],
        ["", *(4 * ["ours", "2018"]), "colourfulness"], RULE,
        row("all grey: the input", "allgrey"), row("by a pixel's grey alone", "bylevel"), RULE, *shipped, RULE,
        row("palette ceiling", "ceiling"), row("true pictures", "truth")])


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    yield "B: the CNN's PSNR is below regression's", v["cnn_k3_f32.psnr"] < v["regression_cnn_k3_f32.psnr"]
    yield "B: every network is right less often than the table of grey levels", (
        max(v[f"{name}.acc"] for name in HANDOUT) < v["bylevel.acc"])
    yield "B: in colour, the CNN is better than the table of grey levels, and that better than grey", (
        v["cnn_k3_f32.colour"] > v["bylevel.colour"] > v["allgrey.colour"]
        and v["cnn_k3_f32_mean.colour"] > v["bylevel_mean.colour"])
    yield "B: the classifiers are alike in colour", (
        max(v[f"{name}_mean.colour"] for name in HANDOUT) - min(v[f"{name}_mean.colour"] for name in HANDOUT) < 0.2)
    yield "B: the classifiers had one and the same training", v["shipped.recipes"] == 1
    for stem in "cnn", "unet":
        more, fewer = f"{stem}_k3_f32", f"{stem}_k3_f16"
        yield f"B, F: 32 filters are better than 16 for the {stem} in loss and accuracy, and little in colour", (
            v[f"{more}.loss"] < v[f"{fewer}.loss"] and v[f"{more}.acc"] > v[f"{fewer}.acc"]
            and 0 < v[f"{more}_mean.colour"] - v[f"{fewer}_mean.colour"] < 0.2)
    for name in HANDOUT:
        yield f"B: {name} has more mean colour and less loss than the handout's, and no less argmax colour", (
            v[f"{name}.colour"] >= v[f"handout.{name}.colour"] and v[f"{name}.loss"] < v[f"handout.{name}.loss"]
            and v[f"{name}_mean.colour"] > v[f"handout.{name}_mean.colour"])
