"""C: the training of the sheet, what skip connections improve, and what each join is used for.

The training takes a minute. Its results are kept in generated/train_unet_b10_e5.json: remove the file to repeat it.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch

from colour.jobs.results import colourings
from colour.learning.task import Classification
from colour.learning.training import Recipe, train
from colour.system.files import ROOT
from colourization import UNet
from writeup.figures import common
from writeup.figures.common import GENERATED, RULE, TITLES, Horses, Values, code, save_row, save_table, score

TRAINING = "unet_b10_e5"
RECIPE = Recipe(batch_size=10, epochs=5, precision="fp32")  # of the sheet's command
JOINS = {"upconv1": "downconv2", "upconv2": "downconv1", "finalconv": "input"}
CURVES = {"loss": 1, "val_loss": 1, "acc": 100, "val_acc": 100, "val_colour": 1}  # and their units


def make(values: Values, horses: Horses) -> None:
    path = GENERATED / f"train_{TRAINING}.json"
    if not path.exists():
        path.write_text(json.dumps(result(horses, *trained(horses)), indent=1) + "\n")
    run = json.loads(path.read_text())
    values.put_figures(TRAINING, run["scores"])
    values.put_figures(f"{TRAINING}_mean", run["mean"])
    for block, figures in run["cut"].items():
        values.put_figures(f"{TRAINING}.cut.{block}", figures)
    values.put(f"{TRAINING}.best", 100 * max(epoch["val_acc"] for epoch in run["history"]), ".1f")
    shipped = {stem: json.loads((ROOT / "weights" / f"{stem}_k3_f32.json").read_text())["history"]
               for stem in ("cnn", "unet")}
    values.put("unet.lead", min(cnn["loss"] - unet["loss"] for cnn, unet in zip(*shipped.values())), ".2f")
    for name, history in {TRAINING: run["history"], **shipped}.items():
        save_curve(name, history)

    for stem in "cnn", "unet":
        network, task = common.load_shipped(f"{stem}_k3_f32", horses.palette)
        prediction, photograph = colourings(network, task, horses.shown)
        save_row(f"strip_{stem}", prediction)
        save_row(f"strip_{stem}_photo", photograph)
    for block in JOINS:
        values.put_figures(f"unet_k3_f32.cut.{block}", score(cut(network, block), task, horses))
    tables(values)


def trained(horses: Horses) -> tuple[UNet, list[dict]]:
    """Train by the sheet's command; return the network, and its history without the seconds, which vary."""
    torch.manual_seed(RECIPE.seed)
    network = UNet(3, 32, len(horses.palette))
    for state in train(network, horses.train, horses.valid, RECIPE, Classification(horses.palette)):
        history = state["history"]
        print(f"{TRAINING}, epoch {len(history)}: {history[-1]['seconds']:.0f} s", flush=True)
    return network, [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in history]


def result(horses: Horses, network: UNet, history: list[dict]) -> dict:
    """Return what the text needs of the training."""
    task = Classification(horses.palette)
    return {"model": "UNet", **asdict(RECIPE), "scores": score(network, task, horses),
            "mean": score(network, replace(task, decoder="mean"), horses),
            "cut": {block: score(cut(network, block), task, horses) for block in JOINS}, "history": history}


def cut(network: UNet, block: str) -> UNet:
    """Return a copy of ``network`` in which ``block`` ignores its skip connection."""
    network = copy.deepcopy(network)
    joined = 1 if JOINS[block] == "input" else len(common.layers(network, JOINS[block])[0].weight)
    with torch.no_grad():
        common.layers(network, block)[0].weight[:, -joined:] = 0  # what is joined on comes last
    return network


def save_curve(name: str, history: list[dict]) -> None:
    lines = [" ".join(["epoch", *CURVES])]
    for epoch, record in enumerate(history, 1):
        lines.append(" ".join([str(epoch), *(f"{unit * record[key]:.4f}" for key, unit in CURVES.items())]))
    (GENERATED / f"curve_{name}.dat").write_text("\n".join(lines) + "\n")


def tables(values: Values) -> None:
    """Write two tables: loss, accuracy and the squared error in its two parts; and what is lost where a join is cut."""
    def row(title: str, filters: int, name: str) -> list[str]:
        return [title, str(filters), *values.cells(name, "loss", "acc", "brightness", "colour"),
                *values.cells(f"{name}_mean", "brightness", "colour")]

    shipped = [[row(TITLES[stem], filters, f"{stem}_k3_f{filters}") for stem in ("cnn", "unet", "dunet")]
               for filters in (32, 16)]
    save_table("split", "lrrrrrrr", [
        r"& & & accuracy & \multicolumn{2}{c}{most probable (dB)} & \multicolumn{2}{c}{mean (dB)} \\",
        ["", "$f$", "loss", r"(\%)", *(2 * ["brightness", "colour"])], RULE, *shipped[0], RULE, *shipped[1], RULE,
        row("UNet, sheet's command", 32, TRAINING)])

    def of_both(key):
        return [cell for name in (TRAINING, "unet_k3_f32") for cell in values.cells(name + key, "acc", "colour")]

    save_table("cut", "llrrrr", [
        r"& & \multicolumn{2}{c}{sheet's command} & \multicolumn{2}{c}{shipped} \\",
        ["cut from", "into", *(2 * [r"acc.\ (\%)", "colour (dB)"])], RULE, ["nothing", "", *of_both("")],
        *([source if source == "input" else code(source), code(block), *of_both(f".cut.{block}")]
          for block, source in JOINS.items())])


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    for filters in 32, 16:
        cnn, unet = f"cnn_k3_f{filters}", f"unet_k3_f{filters}"
        yield f"C: {unet} is better than {cnn} in loss and accuracy", (
            v[f"{unet}.loss"] < v[f"{cnn}.loss"] and v[f"{unet}.acc"] > v[f"{cnn}.acc"])
        yield f"C: {unet} has much better brightness than {cnn}, and about its colour", (
            v[f"{unet}.brightness"] > v[f"{cnn}.brightness"] + 3
            and abs(v[f"{unet}.colour"] - v[f"{cnn}.colour"]) < 0.2
            and abs(v[f"{unet}_mean.colour"] - v[f"{cnn}_mean.colour"]) < 0.15)
    small, large = "unet_k3_f16", "cnn_k3_f32"
    yield "C: a UNet with fewer weights than the CNN is better than it in loss, accuracy and brightness", (
        v["UNet16.weights"] < v["CNN.weights"] and v[f"{small}.loss"] < v[f"{large}.loss"]
        and v[f"{small}.acc"] > v[f"{large}.acc"] and v[f"{small}.brightness"] > v[f"{large}.brightness"])
    yield "C: the UNet is ahead of the CNN in training loss from the first epoch on", v["unet.lead"] > 0
    yield "F: the sheet's training does not end with its best accuracy", v[f"{TRAINING}.best"] > v[f"{TRAINING}.acc"]
    for name in TRAINING, "unet_k3_f32":
        accuracy = {block: v[f"{name}.cut.{block}.acc"] for block in JOINS}
        yield f"C: cutting a join costs {name} accuracy", max(accuracy.values()) < v[f"{name}.acc"]
        yield f"C: for {name} the join from downconv1 matters most", min(accuracy, key=accuracy.get) == "upconv2"
