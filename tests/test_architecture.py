"""The rules of the code's structure."""

import ast
from pathlib import Path

import pytest

from colour.system.files import ROOT

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
