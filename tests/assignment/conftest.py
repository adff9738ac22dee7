"""The checker's options, and what is told at the end."""

import json
import os
from pathlib import Path

import pytest

from colour.system.cli import UserError, folder_for
from colour.system.files import ROOT, atomic_write

from .sandbox import SECONDS, Sandbox  # what imports torch is imported where it is used: meanwhile the worker starts

FILES, VERDICTS, MARKED, SANDBOX = (pytest.StashKey() for _ in range(4))
HERE = Path(__file__).parent


def pytest_addoption(parser, pluginmanager):
    typed = [str(argument) for argument in pluginmanager.get_plugin("pytestconfig").invocation_params.args]
    if any(argument.startswith("--submission") for argument in typed):
        # pytest imports the conftest.py beside any path on its command line, a submission's too. It has no public way
        # to stop that here; tests/test_checker.py notices if a later pytest ignores this.
        pluginmanager._noconftest = True
    group = parser.getgroup("assignment", "checker of the assignment")
    group.addoption("--submission", metavar="PATH", nargs="+",
                    help="the colourization.py to check, or a folder with those of a class (default: this project's)")
    group.addoption("--points", metavar="FILE.json", help="also write the points there, for scripts")
    group.addoption("--csv", metavar="FILE.csv", help="also write a row for each submission there")
    group.addoption("--gradescope", metavar="FILE.json", help="also write what Gradescope reads there")
    group.addoption("--seconds", type=float, default=SECONDS, help="for each submission (default: %(default)s)")


def pytest_configure(config):
    paths, results = config.getoption("submission", None) or [], config.getoption("gradescope", None)
    try:
        config.stash[FILES] = chosen(paths, config.args) if paths else [ROOT / "colourization.py"]
        for name in "points", "csv", "gradescope":
            if file := config.getoption(name, None):
                if Path(file).is_dir():
                    raise UserError(f"{file} is a folder: name a file with --{name}")
                folder_for(Path(file).parent, f"--{name}")
        if results and len(config.stash[FILES]) > 1:
            raise UserError(f"Gradescope marks one submission: here are {', '.join(map(str, config.stash[FILES]))}")
    except UserError as error:
        if results and not Path(results).is_dir():
            save(results, json.dumps({"score": 0, "output": str(error)}))
        raise pytest.UsageError(f"{error}") from None
    config.stash[VERDICTS], config.stash[MARKED] = {}, {}
    config.stash[SANDBOX] = Sandbox(config.getoption("seconds", SECONDS))
    if paths and hasattr(os, "fork"):
        config.stash[SANDBOX].start()
        config.add_cleanup(config.stash[SANDBOX].stop)
    if paths:  # the table says it all
        config.option.tbstyle, config.option.reportchars, config.option.no_header = "no", "", True


def chosen(paths: list[str], arguments: list[str]) -> list[Path]:
    """Return the files to mark, and raise ``UserError`` if there are none or pytest itself would import some."""
    for argument in arguments:
        place = Path(argument.split("::")[0]).absolute()
        if HERE not in (place, *place.parents):
            raise UserError(f"pytest would import {argument}: name tests/assignment first, then --submission with all "
                            "that is to be marked")
    for path in paths:
        if not submissions(Path(path)):
            raise UserError(f"there is no file {path}: name the colourization.py to check, or a folder that holds "
                            "some, with --submission")
    return [file for path in paths for file in submissions(Path(path))]


def submissions(path: Path) -> list[Path]:
    """Return the files to mark at a path: every colourization.py in a folder, or else all of its Python files."""
    if path.is_file():
        return [path]
    return sorted(path.rglob("colourization.py")) or sorted(path.glob("*.py"))


def pytest_generate_tests(metafunc):
    from .checks import CHECKS

    files = metafunc.config.stash[FILES]
    names = [file.parent.name if file.name == "colourization.py" else file.stem for file in files]
    metafunc.parametrize("file, check", [
        pytest.param(file, check, id=check.id if len(files) == 1 else f"{name}-{check.id}")
        for file, name in zip(files, names) for check in CHECKS])


@pytest.fixture(scope="module")
def sandbox(pytestconfig):
    """Return the sandbox that runs submissions, its worker started."""
    if not hasattr(os, "fork"):
        pytest.skip("the checker needs Linux or macOS: elsewhere there is no fork")
    with pytestconfig.stash[SANDBOX] as sandbox:
        yield sandbox


@pytest.fixture
def submission(sandbox, file, pytestconfig):
    """Return the submission in a file, the same for each check."""
    from .checks import Submission

    return pytestconfig.stash[MARKED].setdefault(file, Submission(file, sandbox))


def save(path: str, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")


def pytest_terminal_summary(terminalreporter, config):
    wanted = {name: config.getoption(name, None) for name in ("submission", "points", "csv", "gradescope")}
    verdicts = config.stash[VERDICTS]
    lost = any(verdict.complaints for found in verdicts.values() for verdict in found.values())
    if not lost and not any(wanted.values()):
        return  # this project's own, among its other tests
    from .checks import Submission
    from .report import csv_text, gradescope, report, summary, table

    results = [report(config.stash[MARKED].get(file) or Submission(file, None), str(file), verdicts.get(file, {}))
               for file in config.stash[FILES]]
    only = results[0] if len(results) == 1 else None
    if wanted["points"]:
        save(wanted["points"], json.dumps(only or results, indent=1))
    if wanted["csv"]:
        save(wanted["csv"], csv_text(results).strip())
    if wanted["gradescope"]:
        save(wanted["gradescope"], json.dumps(gradescope(only), indent=1))
    terminalreporter.section("points")
    lines = [only["submission"], *table(only)] if only else [f"{one['submission']}: {summary(one)}" for one in results]
    for line in lines:
        terminalreporter.write_line(line)
