"""The checker's options, and what is told at the end."""

import json
import os
from pathlib import Path

import pytest

from colour.cli import UserError, folder_for
from colour.files import ROOT, atomic_write

from .checks import CHECKS, Submission
from .report import csv_text, gradescope, report, submissions, summary, table
from .sandbox import SECONDS, Sandbox

FILES, VERDICTS, MARKED = pytest.StashKey(), pytest.StashKey(), pytest.StashKey()
HERE = Path(__file__).parent


def pytest_addoption(parser, pluginmanager):
    typed = [str(argument) for argument in pluginmanager.get_plugin("pytestconfig").invocation_params.args]
    if any(argument.startswith("--submission") for argument in typed):
        # pytest imports the conftest.py beside any path on its command line, a submission's too: no further one now.
        pluginmanager._noconftest = True
    group = parser.getgroup("assignment", "checker of the assignment")
    group.addoption("--submission", metavar="PATH", nargs="+",
                    help="the colourization.py to check, or a folder with those of a class (default: this project's)")
    group.addoption("--points", metavar="FILE.json", help="also write the points there, for scripts")
    group.addoption("--csv", metavar="FILE.csv", help="also write a row for each submission there")
    group.addoption("--gradescope", metavar="FILE.json", help="also write what Gradescope reads there")
    group.addoption("--seconds", type=float, default=SECONDS, help="for each submission (default: %(default)s)")


def pytest_configure(config):
    paths = config.getoption("submission", None) or []
    written = [(name, config.getoption(name, None)) for name in ("points", "csv", "gradescope")]
    try:
        strangers = [argument for argument in config.args if HERE not in [(at := Path(argument.split("::")[0]).absolute()),
                                                                          *at.parents]]
        if paths and strangers:
            raise UserError(f"{strangers[0]} would be imported here: name tests/assignment first, then --submission with "
                            "all that is to be marked")
        for name, file in written:
            if file and Path(file).is_dir():
                raise UserError(f"{file} is a folder: name a file with --{name}")
            if file:
                folder_for(Path(file).parent, f"--{name}")
        files = [file for path in paths for file in submissions(Path(path))] if paths else [ROOT / "colourization.py"]
        missing = [path for path in paths if not submissions(Path(path))]
        if missing or not files[0].is_file():
            raise UserError(f"there is no file {missing[0] if missing else files[0]}: name the colourization.py to check, "
                            "or a folder that holds some, with --submission")
        if len(files) > 1 and config.getoption("gradescope", None):
            raise UserError(f"Gradescope marks one submission, and here are {len(files)}, {files[1]} for one")
    except UserError as error:
        if config.getoption("gradescope", None):
            save(config.option.gradescope, json.dumps({"score": 0, "output": str(error)}))
        raise pytest.UsageError(f"{error}") from None
    config.stash[FILES], config.stash[VERDICTS], config.stash[MARKED] = files, {}, {}
    if paths:  # the table says it all
        config.option.tbstyle, config.option.reportchars, config.option.no_header = "no", "", True


def pytest_generate_tests(metafunc):
    files = metafunc.config.stash[FILES]
    names = [file.parent.name if file.name == "colourization.py" else file.stem for file in files]
    metafunc.parametrize("file, check", [
        pytest.param(file, check, id=check.id if len(files) == 1 else f"{name}-{check.id}")
        for file, name in zip(files, names) for check in CHECKS])


@pytest.fixture(scope="session")
def sandbox(pytestconfig):
    if not hasattr(os, "fork"):
        pytest.skip("the checker needs Linux or macOS: elsewhere there is no fork")
    with Sandbox(pytestconfig.getoption("seconds", SECONDS)) as sandbox:
        yield sandbox


@pytest.fixture
def submission(sandbox, file, pytestconfig):
    """The submission in a file, the same for each check."""
    return pytestconfig.stash[MARKED].setdefault(file, Submission(file, sandbox))


def save(path: str, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")


def pytest_terminal_summary(terminalreporter, config):
    option, verdicts = config.option, config.stash[VERDICTS]
    lost = any(verdict.complaints for found in verdicts.values() for verdict in found.values())
    if not (lost or option.submission or option.points or option.csv or option.gradescope):
        return  # this project's own, among its other tests
    results = [report(config.stash[MARKED].get(file) or Submission(file, None), str(file), verdicts.get(file, {}))
               for file in config.stash[FILES]]
    only = results[0] if len(results) == 1 else None
    if option.points:
        save(option.points, json.dumps(only or results, indent=1))
    if option.csv:
        save(option.csv, csv_text(results).strip())
    if option.gradescope:
        save(option.gradescope, json.dumps(gradescope(only), indent=1))
    terminalreporter.section("points")
    if only:
        terminalreporter.write_line(only["submission"])
    for line in table(only) if only else [f"{result['submission']}: {result['points']:.1f} of {result['of']:.1f} points: "
                                          f"{summary(result)}" for result in results]:
        terminalreporter.write_line(line)
