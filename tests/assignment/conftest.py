"""The checker's options, and what is told at the end."""

import json
import os
import queue
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from colour.system.cli import UserError, folder_for
from colour.system.files import ROOT, atomic_write

from .loading import Wrong, text_of
from .sandbox import SECONDS, Sandbox  # what imports torch is imported where it is used: meanwhile the workers start

FILES, MARKING, ALONE = pytest.StashKey(), pytest.StashKey(), pytest.StashKey()
HERE = Path(__file__).parent
UPLOADS = ".py", ".ipynb", ".zip", ".rar", ".7z", ".tgz", ".gz", ".tar", ".html", ".htm"


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
        config.stash[FILES] = chosen(paths, config.args, bool(results)) if paths else [(ROOT / "colourization.py",)]
        for name in "points", "csv", "gradescope":
            if file := config.getoption(name, None):
                if Path(file).is_dir():
                    raise UserError(f"{file} is a folder: name a file with --{name}")
                folder_for(Path(file).parent, f"--{name}")
        if results and len(config.stash[FILES]) > 1:
            raise UserError(f"--gradescope is for one submission, here are {len(config.stash[FILES])}")
    except UserError as error:
        if results and not Path(results).is_dir():
            save(results, json.dumps({"score": 0, "output": str(error)}))
        raise pytest.UsageError(f"{error}") from None
    config.pluginmanager.register(Results(config))
    if hasattr(os, "fork"):
        number = 1
        if len(config.stash[FILES]) > 1 and not hasattr(config, "workerinput"):
            from colour.system.devices import usable_cpus

            number = usable_cpus()
        config.stash[MARKING] = Marking(number, config.getoption("seconds", SECONDS))
        config.add_cleanup(config.stash[MARKING].stop)
        if paths and not config.getoption("numprocesses", None):  # pytest-xdist's processes have their own
            config.stash[MARKING].start()
    config.stash[ALONE] = bool(paths) or bool(config.args) and all(map(is_ours, config.args))
    if config.stash[ALONE]:  # the table says it all
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the sandboxes compute
        config.option.tbstyle, config.option.reportchars, config.option.no_header = "no", "", True


# ------------------------------------------------------------------------------------------------
# What is marked


def chosen(paths: list[str], arguments: list[str], one_student: bool) -> list[tuple]:
    """Return what to mark, as the arguments of ``Submission``: a file, or a folder and why there is none in it.

    Raises ``UserError`` if there are none or pytest itself would import some.
    """
    for argument in arguments:
        if not is_ours(argument):
            raise UserError(f"pytest would import {argument}: name tests/assignment first, then --submission with all "
                            "that is to be marked")
    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"there is no file {path}: name the colourization.py to check, or a folder that holds "
                            "some, with --submission")
        if path.is_dir() and not any(contents(path)) and not one_student:
            raise UserError(f"there is nothing in {path}: name the folder of a class")
        found = [(path,)] if path.is_file() else of_student(path) if one_student else of_class(path)
        if one_student and len(found) > 1:
            names = " and ".join(str(file.relative_to(path)) for file, *_ in found)
            found = [(path, "", f"there are {names}: hand in one file, colourization.py")]
        files += found
    return files


def is_ours(argument: str) -> bool:
    """Tell whether an argument of pytest names tests of the checker."""
    place = Path(argument.split("::")[0]).absolute()
    return HERE in (place, *place.parents)


def of_class(folder: Path) -> list[tuple]:
    """Return a class's submissions: one a folder, and the files beside the folders; or else those of one student."""
    if (folder / "colourization.py").is_file():
        return of_student(folder)
    files, folders = contents(folder)
    files = [path for path in files if path.suffix.lower() in UPLOADS]
    inside = [one for path in folders for one in of_student(path)]
    if sum(bool(classes(path)) for path in files) == 1 and not any(map(is_there, inside)):
        return of_student(folder)
    return [(path,) for path in files] + inside or of_student(folder)


def of_student(folder: Path) -> list[tuple]:
    """Return the submission in a folder, or those in the folders inside it if there is none at its top."""
    if found := own(folder):
        others = [path.name for path in sorted(folder.glob("*.py")) if path != found and classes(path)]
        but = f", not {' and '.join(others)}" if others else ""
        note = f"{found.name} is marked{but}: there is no colourization.py"
        return [(found,) if found.name == "colourization.py" else (found, note)]
    files, folders = contents(folder)
    if nested := [one for path in folders for one in of_student(path) if is_there(one)]:
        return nested
    with_classes = [path.name for path in files if classes(path)]
    reason = (f"{' and '.join(with_classes)} have the classes: hand in one file, colourization.py" if with_classes else
              "there is no colourization.py, and no other Python file that has the classes")
    for path in files:
        try:
            text_of(path)
        except Wrong as wrong:
            reason += f"; {path.name}: {wrong}"
    return [(folder, "", reason)]


def is_there(submission: tuple) -> bool:
    _, *more = submission
    return len(more) < 2


def contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files and the folders in a folder, without what systems and Python leave there."""
    inside = sorted(path for path in folder.iterdir() if path.name[0] not in "._")
    return [path for path in inside if path.is_file()], [path for path in inside if path.is_dir()]


def own(folder: Path) -> Path | None:
    """Return a folder's colourization.py, or else the one Python file that has the most of the classes."""
    if (folder / "colourization.py").is_file():
        return folder / "colourization.py"
    found = {path: classes(path) for path in sorted(folder.glob("*.py"))}
    most = [path for path, names in found.items() if names and len(names) == max(map(len, found.values()))]
    return most[0] if len(most) == 1 else None


def classes(path: Path) -> set[str]:
    """Return which of the sheet's classes a Python file has."""
    try:
        text = text_of(path) if path.suffix == ".py" else ""
    except (OSError, Wrong):
        text = ""
    return set(re.findall(r"^class (CNN|UNet|MyDilatedConv2d)\b", text, re.MULTILINE))


# ------------------------------------------------------------------------------------------------
# Marking


class Marking:
    """Has a number of submissions looked at side by side, each in a sandbox of its own."""

    def __init__(self, number: int, seconds: float):
        self.sandboxes = [Sandbox(seconds) for _ in range(number)]
        self.free, self.looked, self.pool = queue.SimpleQueue(), {}, ThreadPoolExecutor(len(self.sandboxes))
        for sandbox in self.sandboxes:
            self.free.put(sandbox)

    def start(self) -> None:
        for sandbox in self.sandboxes:
            sandbox.start()

    def stop(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        for sandbox in self.sandboxes:
            sandbox.stop()

    def seen(self, submissions: list, index: int):
        """Return a submission that has been looked at; the next ones are looked at meanwhile."""
        for one in submissions[index:index + len(self.sandboxes)]:
            if one not in self.looked:
                self.looked[one] = self.pool.submit(self._look, one)
        self.looked[submissions[index]].result()
        return submissions[index]

    def _look(self, submission) -> None:
        sandbox = self.free.get()
        try:
            submission.look(sandbox)
        finally:
            self.free.put(sandbox)


@pytest.fixture(scope="session")
def submissions(pytestconfig):
    from .checks import Submission

    return [Submission(*one) for one in pytestconfig.stash[FILES]]


@pytest.fixture
def submission(pytestconfig, submissions, index):
    if not hasattr(os, "fork"):
        pytest.skip("the checker needs Linux or macOS: elsewhere there is no fork")
    return pytestconfig.stash[MARKING].seen(submissions, index)


def pytest_generate_tests(metafunc):
    from .checks import CHECKS

    files = [file for file, *_ in metafunc.config.stash[FILES]]
    names = [file.parent.name if file.name == "colourization.py" else file.stem for file in files]
    xdist = metafunc.config.pluginmanager.hasplugin("xdist")  # each submission is looked at once, with loadgroup
    metafunc.parametrize("index, check", [
        pytest.param(index, check, id=check.id if len(files) == 1 else f"{name}-{check.id}",
                     marks=[pytest.mark.xdist_group(f"submission {index}")] if xdist else [])
        for index, name in enumerate(names) for check in CHECKS])


# ------------------------------------------------------------------------------------------------
# What is told


def save(path: str, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")


class Results:
    """Collects the verdicts, in whatever process of pytest's they were reached, and writes them if all are there."""

    def __init__(self, config):
        self.config, self.verdicts, self.notes, self.lines = config, {}, {}, []

    def pytest_runtest_logreport(self, report):
        for name, value in report.user_properties:
            if name == "verdict" and report.when == "call":
                index, check, verdict, self.notes[index] = value
                self.verdicts.setdefault(index, {})[check] = verdict

    def pytest_sessionfinish(self, session):
        wanted = {name: self.config.getoption(name, None) for name in ("points", "csv", "gradescope")}
        lost = any(complaints for found in self.verdicts.values() for _, complaints, _ in found.values())
        marking = self.config.stash[ALONE] or any(wanted.values())
        if hasattr(self.config, "workerinput") or not (lost or marking):
            return  # this project's own, among its other tests
        from .checks import CHECKS, Submission, Verdict
        from .report import csv_text, gradescope, reason_for_nothing, report, summary, table

        files, done = self.config.stash[FILES], sum(map(len, self.verdicts.values()))
        results = []
        for index, one in enumerate(files):
            submission = Submission(*one)
            submission.notes = self.notes.get(index, [])
            verdicts = {check: Verdict(*verdict) for check, verdict in self.verdicts.get(index, {}).items()}
            results.append(report(submission, str(one[0]), verdicts))
        if done < len(files) * len(CHECKS):
            self.lines = [line for result in results if result["checks"]
                          for line in (result["submission"], *table(result)[:-1])]
            self.lines.append(f"a partial run, {done} of {len(files) * len(CHECKS)} checks: no marks are written")
            if any(wanted.values()):
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
            return
        only = results[0] if len(results) == 1 else None
        self.lines = [only["submission"], *table(only)] if only else [
            "; ".join([f"{result['submission']}: {summary(result)}", *result["about"], *reason_for_nothing(result)])
            for result in results]
        if wanted["points"]:
            save(wanted["points"], json.dumps(only or results, indent=1))
        if wanted["csv"]:
            save(wanted["csv"], csv_text(results).strip())
        if wanted["gradescope"]:
            save(wanted["gradescope"], json.dumps(gradescope(only), indent=1))

    def pytest_terminal_summary(self, terminalreporter):
        if self.lines:
            terminalreporter.section("points")
        for line in self.lines:
            terminalreporter.write_line(line)
