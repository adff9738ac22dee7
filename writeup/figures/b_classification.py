"""B: the scores of all shipped weights, beside the hand-out's and what needs no network; pictures of the CNN."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace

from colour.jobs.results import colourings
from colour.learning.baselines import ALL_GREY, CEILING, MEAN_COLOUR, MOST_FREQUENT, baselines
from colour.system.files import ROOT
from writeup.figures.common import RULE, TITLES, WEIGHTS, Horses, Values, load_shipped, save_row, save_table, score

BASELINES = {ALL_GREY: "allgrey", MOST_FREQUENT: "bylevel", MEAN_COLOUR: "bylevel_mean", CEILING: "ceiling"}
# What the weights of the original hand-out score on the same horses. They are not ours to ship: measured once.
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
    epochs = [json.loads((ROOT / "weights" / f"{name}.json").read_text())["epochs"] for name in WEIGHTS]
    values.put("shipped.epochs", f"{min(epochs)} to {max(epochs)}")
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


def table_of_scores(values: Values) -> None:
    """Write the table: colour first; ours and the hand-out's beside each other."""
    def row(title: str, name: str) -> list[str]:
        columns = (name, "colour"), (f"{name}_mean", "colour"), (name, "loss"), (name, "acc")
        cells = (values.cells(prefix, key) + values.cells(f"handout.{prefix}", key) for prefix, key in columns)
        return [title, *itertools.chain(*cells), *values.cells(name, "colourfulness")]

    groups = "colour (dB)", "mean colour (dB)", "loss", r"accuracy (\%)"
    shipped = [row(rf"{TITLES[stem]}, $f={filters}$", f"{stem}_k3_f{filters}")
               for stem, filters in (name.rsplit("_k3_f", 1) for name in WEIGHTS)]
    save_table("scores", "l" + 4 * r"r@{\enspace}>{\color{black!55}}r" + "r", [
        ["", *(rf"\multicolumn{{2}}{{c}}{{{group}}}" for group in groups), ""],
        ["", *(4 * ["ours", "2018"]), "colourful"], RULE,
        row("all grey: the input", "allgrey"), row("by a pixel's grey alone", "bylevel"), RULE, *shipped, RULE,
        row("palette ceiling", "ceiling"), row("true pictures", "truth")])


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    yield "B: the CNN's PSNR is below regression's", v["cnn_k3_f32.psnr"] < v["regression_cnn_k3_f32.psnr"]
    yield "B: the CNN is right less often than the table of grey levels, the UNet more often", (
        v["cnn_k3_f32.acc"] < v["bylevel.acc"] < v["unet_k3_f32.acc"])
    yield "B: in colour, the CNN is better than the table of grey levels, and that better than grey", (
        v["cnn_k3_f32.colour"] > v["bylevel.colour"] > v["allgrey.colour"]
        and v["cnn_k3_f32_mean.colour"] > v["bylevel_mean.colour"])
    yield "B: more filters make the CNN better in loss and accuracy, and hardly in colour", (
        v["cnn_k3_f32.loss"] < v["cnn_k3_f16.loss"] and v["cnn_k3_f32.acc"] > v["cnn_k3_f16.acc"]
        and abs(v["cnn_k3_f32_mean.colour"] - v["cnn_k3_f16_mean.colour"]) < 0.1)
    for name in HANDOUT:
        yield f"B: {name} has more mean colour and less loss than the hand-out's, and no less argmax colour", (
            v[f"{name}.colour"] >= v[f"handout.{name}.colour"] and v[f"{name}.loss"] < v[f"handout.{name}.loss"]
            and v[f"{name}_mean.colour"] > v[f"handout.{name}_mean.colour"])
