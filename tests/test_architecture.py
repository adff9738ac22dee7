"""The rules of the code's structure, and what they are for: a new network is a class and a line in MODELS."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import activations
import colourization
from colour.jobs import checkpoints
from colour.system.files import ROOT
from colourization import MyConv2d

PACKAGE = sorted((ROOT / "colour").rglob("*.py"))
FLOORS = ["system", "data", "colour", "learning", "jobs"]  # from the lowest; "colour" is the package itself
SCRIPTS = {path.stem: path for path in sorted(ROOT.glob("*.py"))}
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NETWORKS = {"MODELS", "NETWORKS", "CNN", "UNet", "DilatedUNet", "RegressionCNN", "MyConv2d", "MyDilatedConv2d"}
COMMAND_LINE = {"", "main", "build_parser"}
LENGTHS = {  # a function must be shorter than this, its docstring included
    ("learning/training.py", "train"): 60, ("learning/training.py", "evaluate"): 25,
    **{(path.name, "main"): 50 for path in [*SCRIPTS.values(), ROOT / "colour" / "kmeans.py"]}}


def functions(path: Path):
    return [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.FunctionDef)]


def imports(path: Path) -> set[tuple[str, str]]:
    """Return what a file imports anywhere: pairs of a module and a name in it, or of a module and nothing."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", alias.name) for alias in node.names}
    return found


def test_nothing_in_colour_imports_a_script():
    forbidden = {*SCRIPTS, "tests", "writeup"}
    assert not [(path.name, module) for path in PACKAGE for module, _ in imports(path)
                if module.partition(".")[0] in forbidden]


def floor(module: str) -> int:
    """Return the floor of ``colour.X`` or ``colour.FLOOR.X``."""
    parts = module.split(".")
    return FLOORS.index(parts[1] if len(parts) > 1 and parts[1] in FLOORS else "colour")


def test_each_floor_uses_only_those_below():
    upwards = []
    for path in PACKAGE:
        here = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for module, name in imports(path):
            if module.partition(".")[0] == "colour" and floor(f"{module}.{name}") > floor(here):
                upwards.append((here, module, name))
    assert {path.parent.name for path in PACKAGE} == set(FLOORS)
    assert not upwards


def test_no_function_has_more_than_eight_parameters():
    counts = {}
    for path in [*PACKAGE, *SCRIPTS.values()]:
        for function in functions(path):
            a = function.args
            parameters = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
            counts[path.name, function.name] = len([one for one in parameters if one.arg not in ("self", "cls")])
    assert not {name: count for name, count in counts.items() if count > 8}


@pytest.mark.parametrize("name, function", LENGTHS)
def test_the_loops_and_mains_are_short(name, function):
    path = SCRIPTS.get(name.removesuffix(".py"), ROOT / "colour" / name)
    found, = (node for node in functions(path) if node.name == function)
    assert found.end_lineno - found.lineno + 1 < LENGTHS[name, function]


def test_no_test_imports_from_another_test():
    """They share fixtures (conftest.py) and helpers."""
    assert not [(path.name, module, name) for path in TESTS for module, name in imports(path)
                if module.rpartition(".")[2].startswith("test_") or name.startswith("test_")]


def test_scripts_are_libraries_for_their_networks_only():
    others = [*TESTS, *(ROOT / "writeup").rglob("*.py")]
    assert not [(path.name, module, name) for path in others for module, name in imports(path)
                if module in ("colourization", "colour_regression") and name not in NETWORKS | COMMAND_LINE]


class ResUNet(nn.Module):
    """A network whose blocks have other names than ours."""

    def __init__(self, kernel: int, num_filters: int, num_colours: int):
        super().__init__()
        self.enter = nn.Sequential(MyConv2d(1, num_filters, kernel), nn.MaxPool2d(2), nn.BatchNorm2d(num_filters))
        self.residual = nn.Sequential(MyConv2d(num_filters, num_filters, kernel), nn.ReLU())
        self.leave = nn.Upsample(scale_factor=2)
        self.answer = MyConv2d(num_filters + 1, num_colours, kernel)

    def forward(self, x):
        small = self.enter(x)
        return self.answer(torch.cat([self.leave(small + self.residual(small)), x], dim=1))


@pytest.fixture
def res_unet(monkeypatch):
    monkeypatch.setitem(colourization.MODELS, "ResUNet", ResUNet)


def test_a_new_network_works_everywhere(res_unet, run, short, tmp_path):
    weights, out = tmp_path / "res.pkl", tmp_path / "out"
    scored = "--checkpoint", weights, "--holdout", 20, "--outdir", out
    flags = *short, "--model", "ResUNet", "--kernel", 5, "--checkpoint", weights
    status, said, error = run(colourization.main, *flags)
    assert status == 0 and "Epoch [1/1]" in said, error
    status, said, error = run(colourization.main, *flags, "--resume", "-e", 2)
    assert status == 0 and "Epoch [2/2]" in said, error
    network, architecture, sidecar = checkpoints.load_network(weights, colourization.MODELS)
    assert type(network) is ResUNet and architecture == ("ResUNet", 5, 4, 24)
    assert (sidecar["model"], sidecar["kernel"], sidecar["num_filters"]) == ("ResUNet", 5, 4)

    status, said, error = run(colourization.main, "--valid", *scored)
    assert status == 0 and "Val Acc: " in said and (out / f"eval_{tmp_path.name}_res.png").exists(), error
    status, said, error = run(colourization.main, "--compare", weights, *scored[2:])
    assert status == 0 and "\nres " in said, error
    status, said, error = run(activations.main, 7, "--checkpoint", weights, "--outdir", tmp_path / "act")
    assert status == 0 and "_res_residual.png: 4 channels of 16x16" in said, error

    checkpoints.sidecar_path(weights).unlink()  # without it the names of the blocks tell
    assert checkpoints.load_network(weights, colourization.MODELS)[1] == ("ResUNet", 5, 4, 24)
    assert run(colourization.main, "--valid", *scored)[0] == 0


def test_a_new_network_colours_photos_once(res_unet, run, tmp_path):
    """The results of an earlier run are no photos, whatever the network is called."""
    torch.manual_seed(0)
    checkpoints.save(tmp_path / "res.pkl", ResUNet(3, 4, 24).state_dict(), {"model": "ResUNet"})
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos / "a.png")
    flags = "--image", photos, "--checkpoint", tmp_path / "res.pkl", "--outdir", photos
    for _ in range(2):
        status, _, error = run(colourization.main, *flags)
        assert status == 0, error
        assert {path.name for path in photos.iterdir()} == {"a.png", "a_ResUNet.png", "a_ResUNet_compare.png"}
    result = np.asarray(Image.open(photos / "a_ResUNet.png"), int)
    assert result.shape == pixels.shape and np.ptp(result, axis=2).max() > 0
