"""C: four trainings from random weights, what skip connections improve, and what each join is used for.

The trainings take minutes. Their results are kept in generated/train_*.json, and only ``--retrain`` or removing such a
file repeats them.
"""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch
from torch import nn

from activations import BLOCKS
from colour.results import colour_in
from colour.task import Classification
from colour.training import Recipe, train
from colourization import MODELS, UNet
from writeup.figures.common import (
    GENERATED,
    RULE,
    TITLES,
    Horses,
    Values,
    code,
    layers,
    load_shipped,
    save_row,
    save_table,
    score,
)

TRAININGS = {
    "unet_b10_e5": ("UNet", Recipe(batch_size=10, epochs=5, precision="fp32")),  # the assignment's own
    "cnn_e25": ("CNN", Recipe(precision="fp32")),
    "unet_e25": ("UNet", Recipe(precision="fp32")),
    "dunet_e25": ("DUNet", Recipe(precision="fp32")),
}
FILTERS = 32
JOINS = {"upconv1": "downconv2", "upconv2": "downconv1", "finalconv": "input"}


def make(values: Values, horses: Horses) -> None:
    runs = {}
    for name in TRAININGS:
        path = GENERATED / f"train_{name}.json"
        if not path.exists():
            record(name, horses, *trained(name, horses))
        runs[name] = json.loads(path.read_text())
        values_of_training(values, name, runs[name], len(horses.train))
    values.put("unet_e25.lead", min(cnn["val_loss"] - unet["val_loss"] for cnn, unet in zip(
        runs["cnn_e25"]["history"], runs["unet_e25"]["history"])), ".2f")
    unet, task = load_shipped("unet_k3_f32", horses.palette)
    for block in JOINS:
        values.put_figures(f"unet_k3_f32.cut.{block}", score(cut(unet, block), task, horses))
    tables(values)
    photograph = replace(task, decoder="annealed", keep_grey=True)
    for stem in "cnn", "unet":
        network, _ = load_shipped(f"{stem}_k3_f32", horses.palette)
        save_row(f"strip_{stem}_kept", colour_in(network, photograph, horses.shown))
    save_row("strip_unet", colour_in(unet, task, horses.shown))


def trained(name: str, horses: Horses) -> tuple[nn.Module, list[dict]]:
    """Train one of ``TRAININGS``; return the network, and its history without the seconds, which vary."""
    model, recipe = TRAININGS[name]
    torch.manual_seed(recipe.seed)
    network = MODELS[model](3, FILTERS, len(horses.palette))
    for state in train(network, horses.train, horses.valid, recipe, Classification(horses.palette)):
        history = state["history"]
        print(f"{name}, epoch {len(history)}: {history[-1]['seconds']:.0f} s", flush=True)
    return network, [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in history]


def record(name: str, horses: Horses, network: nn.Module, history: list[dict]) -> None:
    """Keep what the text needs of a training."""
    model, recipe = TRAININGS[name]
    task = Classification(horses.palette)
    kept = {"model": model, "num_filters": FILTERS, **asdict(recipe), "scores": score(network, task, horses)}
    if isinstance(network, UNet):
        kept["cut"] = {block: score(cut(network, block), task, horses) for block in JOINS}
    (GENERATED / f"train_{name}.json").write_text(json.dumps({**kept, "history": history}, indent=1) + "\n")
    if name.endswith("e25"):
        save_row(f"strip_{name}", colour_in(network, task, horses.shown))


def cut(network: UNet, block: str) -> UNet:
    """Return a copy of ``network`` in which ``block`` no longer hears what its skip connection brings."""
    network = copy.deepcopy(network)
    joined = 1 if JOINS[block] == "input" else len(layers(network, JOINS[block])[0].weight)
    with torch.no_grad():
        layers(network, block)[0].weight[:, -joined:] = 0  # what is joined on comes last
    return network


def values_of_training(values: Values, name: str, run: dict, pictures: int) -> None:
    """Values and curve of a training on so many ``pictures``."""
    history = run["history"]
    values.put_figures(name, run["scores"])
    values.put(f"{name}.steps", run["epochs"] * math.ceil(pictures / run["batch_size"]), ",")
    for block, figures in run.get("cut", {}).items():
        values.put_figures(f"{name}.cut.{block}", figures)
    lines = ["epoch loss val_loss acc val_acc"] + [
        f"{epoch} {one['loss']:.4f} {one['val_loss']:.4f} {100 * one['acc']:.2f} {100 * one['val_acc']:.2f}"
        for epoch, one in enumerate(history, 1)]
    (GENERATED / f"curve_{name}.dat").write_text("\n".join(lines) + "\n")


def tables(values: Values) -> None:
    """Table: the squared error in its two parts. Table: what is lost where a join is cut."""
    figures = "loss", "acc", "error.brightness", "error.colour"
    equal = [[TITLES[model.lower()], f"{recipe.epochs} epochs, batch {recipe.batch_size}", *values.cells(name, *figures)]
             for name, (model, recipe) in TRAININGS.items()]
    shipped = [[TITLES[stem], "shipped", *values.cells(f"{stem}_k3_f32", *figures)] for stem in ("cnn", "unet", "dunet")]
    save_table("split", "llrrrr", [["", "training", "loss", r"acc.\ (\%)", "brightness", "colour"], RULE, *equal, RULE,
                                   *shipped])
    both = "unet_e25", "unet_k3_f32"
    rows = [[code(source) if source in BLOCKS else source, code(block),
             *(cell for name in both for cell in values.cells(f"{name}.cut.{block}", "acc", "colour"))]
            for block, source in JOINS.items()]
    save_table("cut", "llrrrr", [
        r"& & \multicolumn{2}{c}{25 epochs} & \multicolumn{2}{c}{shipped} \\",
        ["cut from", "into", *(2 * [r"acc.\ (\%)", "colour (dB)"])], RULE,
        ["--", "--", *(cell for name in both for cell in values.cells(name, "acc", "colour"))], *rows])


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    for cnn, unet, what in (("cnn_e25", "unet_e25", "after 25 epochs"), ("cnn_k3_f32", "unet_k3_f32", "as shipped")):
        yield f"C: the UNet is better than the CNN {what}, in loss, accuracy and PSNR", (
            v[f"{unet}.loss"] < v[f"{cnn}.loss"] and v[f"{unet}.acc"] > v[f"{cnn}.acc"]
            and v[f"{unet}.psnr"] > v[f"{cnn}.psnr"])
        yield f"C: {what}, the UNet halves the CNN's error of brightness at least, and has about its error of colour", (
            v[f"{unet}.error.brightness"] < v[f"{cnn}.error.brightness"] / 2
            and abs(v[f"{unet}.error.colour"] / v[f"{cnn}.error.colour"] - 1) < 0.05)
    yield "C: the UNet is ahead of the CNN from the first epoch on", v["unet_e25.lead"] > 0
    for name, most in (("unet_e25", "upconv2"), ("unet_k3_f32", "finalconv")):
        accuracy = {block: v[f"{name}.cut.{block}.acc"] for block in JOINS}
        yield f"C: cutting a join costs {name} accuracy", max(accuracy.values()) < v[f"{name}.acc"]
        yield f"C: for {name} the join into {most} matters most", min(accuracy, key=accuracy.get) == most
