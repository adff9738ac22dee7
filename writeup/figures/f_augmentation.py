"""F: the table of the study that ``python -m writeup.augmentation`` made."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from colour.learning.augment import MAX_SHIFT
from writeup.augmentation import STUDY, summary
from writeup.figures.common import RULE, Horses, Values, save_table

TITLES = {
    "none": "none",
    "hflip": "flip left--right",
    "vflip": "flip upside down",
    "hshift": "shift sideways",
    "vshift": "shift up or down",
    "pretrained": "other nine categories first",
}


def make(values: Values, horses: Horses, study: Path = STUDY) -> None:
    whole = json.loads(study.read_text())
    runs, settings = whole["runs"], whole["settings"]
    for key in "epochs", "batch_size", "holdout":
        values.put(f"study.{key}", settings[key], ",")
    values.put("study.share", 100 * settings["pretraining"], ".0f")
    values.put("study.shift", MAX_SHIFT)
    values.put("study.seeds", len({run["seed"] for run in runs}))
    losses = {name: [run["loss"] for run in runs if run["name"] == name] for name in TITLES}
    rows = []
    for name, figures in summary(runs).items():
        (loss, loss_spread), (accuracy, accuracy_spread) = figures["loss"], figures["acc"]
        gain = mean(losses["none"]) - loss
        values.put(f"study.{name}.gain", gain, "+.3f")
        values.put(f"study.{name}.verdict", verdict(losses[name], losses["none"]))
        rows.append([TITLES[name], rf"${loss:.3f} \pm {loss_spread:.3f}$",
                     rf"${100 * accuracy:.1f} \pm {100 * accuracy_spread:.1f}$",
                     *(["", ""] if name == "none" else [f"${-gain:+.3f}$", values[f"study.{name}.verdict"]])])
    save_table("study", "lrrrl", [["augmentation", "loss", r"acc.\ (\%)", "against none", ""], RULE, *rows])


def verdict(losses: list[float], without: list[float]) -> str:
    """Say what an augmentation did, by the losses of all seeds with and without it."""
    if max(losses) < min(without):
        return "lowered the loss"
    return "raised the loss" if min(losses) > max(without) else "made no clear difference"


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    gains = {name: float(v[f"study.{name}.gain"]) for name in TITLES if name != "none"}
    yield "F: each augmentation lowers the loss", all(
        v[f"study.{name}.verdict"] == "lowered the loss" for name in gains)
    yield "F: flipping upside down gains less than left to right", gains["vflip"] < gains["hflip"]
    yield "F: shifts gain about what the flip from left to right does", max(
        abs(gains[name] - gains["hflip"]) for name in ("hshift", "vshift")) < 0.01
    yield "F: each augmentation changes the loss by less than half of what skip connections do", (
        max(map(abs, gains.values())) < (v["cnn_k3_f32.loss"] - v["unet_k3_f32.loss"]) / 2)
