"""The checker's options, and the table of points at the end."""

import json
import os
from pathlib import Path

import pytest

from colour.cli import UserError, folder_for
from colour.files import ROOT, atomic_write

from .checks import CHECKS, Submission, Verdict, outdated
from .sandbox import SECONDS, Sandbox

PATH, VERDICTS = pytest.StashKey(), pytest.StashKey()
NOT_RUN = Verdict("", ["not run"])


def pytest_addoption(parser):
    group = parser.getgroup("assignment", "checker of the assignment")
    group.addoption("--submission", metavar="FILE", help="the colourization.py to check (default: this project's own)")
    group.addoption("--points", metavar="FILE.json", help="also write the points there, for scripts")
    group.addoption("--seconds", type=float, default=SECONDS, help="that a check may take (default: %(default)s)")


def pytest_configure(config):
    path = Path(config.getoption("submission", None) or ROOT / "colourization.py")
    points = config.getoption("points", None)
    if not path.is_file():
        raise pytest.UsageError(f"there is no file {path}: name the colourization.py to check with --submission")
    try:
        if points and Path(points).is_dir():
            raise UserError(f"{points} is a folder: name a file with --points")
        if points:
            folder_for(Path(points).parent, "--points")
    except UserError as error:
        raise pytest.UsageError(f"{error}") from None
    config.stash[PATH], config.stash[VERDICTS] = path, {}


@pytest.fixture(scope="session")
def submission(pytestconfig):
    if not hasattr(os, "fork"):
        pytest.skip("the checker needs Linux or macOS: elsewhere there is no fork")
    with Sandbox(pytestconfig.getoption("seconds", SECONDS)) as sandbox:
        yield Submission(pytestconfig.stash[PATH], sandbox)


def report(path: Path, verdicts: dict) -> dict:
    """The points of every check, also of those that were not run: they have none."""
    rows = []
    for check in CHECKS:
        verdict = verdicts.get(check.id, NOT_RUN)
        rows.append({"part": check.part, "check": check.name, "points": 0 if verdict.complaints else check.points,
                     "of": check.points, "expected": verdict.expected, "found": verdict.found})
    parts = {part: [round(sum(row[key] for row in rows if row["part"] == part), 2) for key in ("points", "of")]
             for part in sorted({row["part"] for row in rows})}
    points, of = (round(sum(column), 2) for column in zip(*parts.values()))
    return {"submission": str(path), "points": points, "of": of, "parts": parts, "checks": rows,
            "outdated": outdated(path)}


def pytest_terminal_summary(terminalreporter, config):
    verdicts = config.stash[VERDICTS]
    lost = any(verdict.complaints for verdict in verdicts.values())
    if not (lost or config.option.submission or config.option.points):
        return  # this project's own, among its other tests
    result = report(config.stash[PATH], verdicts)
    if config.option.points:
        with atomic_write(config.option.points) as file:
            file.write(json.dumps(result, indent=1).encode() + b"\n")
    write = terminalreporter.write_line
    terminalreporter.section(f"points of {result['submission']}")
    for row in result["checks"]:
        write(f"{row['part']}  {row['check']:15} {row['points']:4.1f} of {row['of']:.1f}")
        if row["found"] == NOT_RUN.found:
            write(f"     {row['found']}")
        elif row["points"] < row["of"]:
            write(f"     expected: {row['expected']}")
            write(f"     found:    {row['found']}")
    for part, (points, of) in result["parts"].items():
        write(f"part {part}: {points:.1f} of {of:.1f}")
    write(f"together: {result['points']:.1f} of {result['of']:.1f}")
    for note in result["outdated"]:
        write(f"outdated, {note}")
