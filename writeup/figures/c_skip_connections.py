"""C: four trainings from random weights, what skip connections improve, and what each join is used for.

The trainings take minutes. Their results are kept in generated/train_*.json: remove such a file to repeat its training.
"""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch
from torch import nn

from colour.jobs.results import colourings
from colour.learning.task import Classification
from colour.learning.training import Recipe, train
from colourization import MODELS, UNet
from writeup.figures import common
from writeup.figures.common import GENERATED, RULE, TITLES, Horses, Values, code, save_row, save_table, score

TRAININGS = {
    "unet_b10_e5": ("UNet", Recipe(batch_size=10, epochs=5, precision="fp32")),  # the assignment's own
    "cnn_e25": ("CNN", Recipe(precision="fp32")),  # and the defaults
    "unet_e25": ("UNet", Recipe(precision="fp32")),
    "dunet_e25": ("DUNet", Recipe(precision="fp32")),
}
JOINS = {"upconv1": "downconv2", "upconv2": "downconv1", "finalconv": "input"}
CURVES = {"loss": 1, "val_loss": 1, "acc": 100, "val_acc": 100, "val_colour": 1}  # and their units


def make(values: Values, horses: Horses) -> None:
    runs = {}
    for name in TRAININGS:
        path = GENERATED / f"train_{name}.json"
        if not path.exists():
            path.write_text(json.dumps(result(name, horses, *trained(name, horses)), indent=1) + "\n")
        runs[name] = json.loads(path.read_text())
        values_of_training(values, name, runs[name], len(horses.train))
    values.put("unet_e25.colour10", runs["unet_e25"]["history"][9]["val_colour"], ".2f")
    values.put("unet_e25.lead", min(cnn["val_loss"] - unet["val_loss"] for cnn, unet in zip(
        runs["cnn_e25"]["history"], runs["unet_e25"]["history"])), ".2f")
    for stem in "cnn", "unet":
        network, task = common.load_shipped(f"{stem}_k3_f32", horses.palette)
        prediction, photograph = colourings(network, task, horses.shown)
        save_row(f"strip_{stem}", prediction)
        save_row(f"strip_{stem}_photo", photograph)
    for block in JOINS:
        values.put_figures(f"unet_k3_f32.cut.{block}", score(cut(network, block), task, horses))
    tables(values)


def trained(name: str, horses: Horses) -> tuple[nn.Module, list[dict]]:
    """Train one of ``TRAININGS``; return the network, and its history without the seconds, which vary."""
    model, recipe = TRAININGS[name]
    torch.manual_seed(recipe.seed)
    network = MODELS[model](3, 32, len(horses.palette))
    for state in train(network, horses.train, horses.valid, recipe, Classification(horses.palette)):
        history = state["history"]
        print(f"{name}, epoch {len(history)}: {history[-1]['seconds']:.0f} s", flush=True)
    return network, [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in history]


def result(name: str, horses: Horses, network: nn.Module, history: list[dict]) -> dict:
    """Return what the text needs of a training; also draw what the network makes of the horses."""
    model, recipe = TRAININGS[name]
    task = Classification(horses.palette)
    if name.endswith("e25"):
        save_row(f"strip_{name}", colourings(network, task, horses.shown)[0])
    joins = JOINS if isinstance(network, UNet) else ()
    return {"model": model, **asdict(recipe), "scores": score(network, task, horses),
            "mean": score(network, replace(task, decoder="mean"), horses),
            "cut": {block: score(cut(network, block), task, horses) for block in joins}, "history": history}


def cut(network: UNet, block: str) -> UNet:
    """Return a copy of ``network`` in which ``block`` ignores its skip connection."""
    network = copy.deepcopy(network)
    joined = 1 if JOINS[block] == "input" else len(common.layers(network, JOINS[block])[0].weight)
    with torch.no_grad():
        common.layers(network, block)[0].weight[:, -joined:] = 0  # what is joined on comes last
    return network


def values_of_training(values: Values, name: str, run: dict, pictures: int) -> None:
    """Add the values and write the curve of a training on so many ``pictures``."""
    values.put_figures(name, run["scores"])
    values.put_figures(f"{name}_mean", run["mean"])
    values.put(f"{name}.steps", run["epochs"] * math.ceil(pictures / run["batch_size"]), ",")
    for block, figures in run["cut"].items():
        values.put_figures(f"{name}.cut.{block}", figures)
    lines = [" ".join(["epoch", *CURVES])]
    for epoch, record in enumerate(run["history"], 1):
        lines.append(" ".join([str(epoch), *(f"{unit * record[key]:.4f}" for key, unit in CURVES.items())]))
    (GENERATED / f"curve_{name}.dat").write_text("\n".join(lines) + "\n")


def tables(values: Values) -> None:
    """Write two tables: the squared error in its two parts, and what is lost where a join is cut."""
    names = {name: (TITLES[model.lower()], f"{recipe.epochs} epochs, batches of {recipe.batch_size}")
             for name, (model, recipe) in TRAININGS.items()}
    names |= {f"{stem}_k3_f32": (TITLES[stem], "shipped") for stem in ("cnn", "unet", "dunet")}
    rows = [[*title, *values.cells(name, "loss", "acc", "brightness", "colour"),
             *values.cells(f"{name}_mean", "brightness", "colour")] for name, title in names.items()]
    save_table("split", "llrrrrrr", [
        r"& & & accuracy & \multicolumn{2}{c}{most probable (dB)} & \multicolumn{2}{c}{mean (dB)} \\",
        ["", "training", "loss", r"(\%)", *(2 * ["brightness", "colour"])], RULE, *rows[:4], RULE, *rows[4:]])

    def of_both(key):
        return [cell for name in ("unet_e25", "unet_k3_f32") for cell in values.cells(name + key, "acc", "colour")]

    save_table("cut", "llrrrr", [
        r"& & \multicolumn{2}{c}{25 epochs} & \multicolumn{2}{c}{shipped} \\",
        ["cut from", "into", *(2 * [r"acc.\ (\%)", "colour (dB)"])], RULE, ["nothing", "", *of_both("")],
        *([source if source == "input" else code(source), code(block), *of_both(f".cut.{block}")]
          for block, source in JOINS.items())])


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    for cnn, unet in ("cnn_e25", "unet_e25"), ("cnn_k3_f32", "unet_k3_f32"):
        yield f"C: {unet} is better than {cnn} in loss, accuracy and PSNR", (
            v[f"{unet}.loss"] < v[f"{cnn}.loss"] and v[f"{unet}.acc"] > v[f"{cnn}.acc"]
            and v[f"{unet}.psnr"] > v[f"{cnn}.psnr"])
        yield f"C: {unet} has much better brightness than {cnn}, and about its colour", (
            v[f"{unet}.brightness"] > v[f"{cnn}.brightness"] + 3
            and abs(v[f"{unet}.colour"] - v[f"{cnn}.colour"]) < 0.2
            and abs(v[f"{unet}_mean.colour"] - v[f"{cnn}_mean.colour"]) < 0.1)
    small, large = "unet_k3_f16", "cnn_k3_f32"
    yield "C: a UNet with fewer weights than the CNN is better than it in loss, accuracy and brightness", (
        v["UNet16.weights"] < v["CNN.weights"] and v[f"{small}.loss"] < v[f"{large}.loss"]
        and v[f"{small}.acc"] > v[f"{large}.acc"] and v[f"{small}.brightness"] > v[f"{large}.brightness"])
    yield "C: 25 epochs bring no more colour than 10", v["unet_e25.colour10"] > v["unet_e25_mean.colour"] - 0.1
    yield "C: the UNet is ahead of the CNN in loss from the first epoch on", v["unet_e25.lead"] > 0
    for name in "unet_e25", "unet_k3_f32":
        accuracy = {block: v[f"{name}.cut.{block}.acc"] for block in JOINS}
        yield f"C: cutting a join costs {name} accuracy", max(accuracy.values()) < v[f"{name}.acc"]
        yield f"C: for {name} the join from downconv1 matters most", min(accuracy, key=accuracy.get) == "upconv2"
