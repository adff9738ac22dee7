"""Write what students get, or what Gradescope gets, and try it before it appears.

    python -m tests.assignment.handout handout.zip                 # or a new folder, for GitHub Classroom
    python -m tests.assignment.handout --autograder autograder.zip

The hand-out is this project without its history, tests and write-up. In its colourization.py the bodies that students
have to write are gone, and with them what only they used; they are found by the names of their classes.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from colour.system.cli import Parser, UserError, command
from colour.system.files import ROOT

HERE = Path(__file__).resolve().parent
QUESTIONS = {"CNN": "B", "UNet": "C", "MyDilatedConv2d": "G"}
GIVEN = {"MyDilatedConv2d": ["__init__"]}  # methods that students get
CLASSES = {"MyConv2d", "DilatedUNet", *QUESTIONS}  # of colourization.py that students get, whole or in part
WRITTEN = {  # what would answer a question of the sheet that is answered in writing
    "A.1": r"2f ?x ?8 ?x ?8", "A.2": r"gives brown|least squared error",
    "D.2": r"(?<![\d.,])(86,?352|86,?784|111,?912|112,?344)(?!\d)"}
RUNS = ["load_data.py", "colour_regression.py", "pyproject.toml", "requirements.txt", "LICENSE", "colour/**/*.py",
        "colour/*.npy", "data/cifar10_horses.npz"]
CHECKER = ["tests/__init__.py", *(f"tests/assignment/{path.name}" for path in sorted(HERE.glob("*.py"))
                                  if path.name != "handout.py")]
HANDOUT = [*RUNS, *CHECKER, "activations.py", ".gitignore", "weights/*.pkl", "weights/*.json"]
AUTOGRADER = [*RUNS, *CHECKER, "weights/cnn_k3_f32.*", "weights/unet_k3_f32.*"]

SETUP = """#!/usr/bin/env bash
# Gradescope runs this once, when it builds its image.
set -euo pipefail
apt-get update
apt-get install -y python3 python3-venv
cd "$(dirname "$0")"
python3 -m venv venv
venv/bin/pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu
grep -v -e ruff -e xdist requirements.txt > needed.txt
venv/bin/pip install --no-cache-dir -r needed.txt
"""
RUN_AUTOGRADER = """#!/usr/bin/env bash
# Gradescope runs this for each submission, as /autograder/run_autograder.
cd "$(dirname "$0")/source"
python=venv/bin/python
[ -x "$python" ] || python=python3
mkdir -p ../results
"$python" -m pytest -p no:cacheprovider tests/assignment --submission ../submission --gradescope ../results/results.json
exit 0  # lost points are no failure of this script
"""


# ------------------------------------------------------------------------------------------------
# What students have to write


def blanked(source: str) -> tuple[str, list[str]]:
    """Return ``source`` without the bodies that students write, and the lines that were taken out."""
    lines, taken = source.splitlines(), []

    def cut(first: int, last: int, *instead: str) -> None:
        taken.extend(lines[first - 1:last])
        lines[first - 1:last] = [*instead, *[None] * (last - first + 1 - len(instead))]  # the others keep their numbers

    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or node.name not in QUESTIONS:
            continue
        question = f"question {QUESTIONS[node.name]} is not done yet"
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name not in GIVEN.get(node.name, []):
                if part.name in ("__init__", "forward"):
                    cut(part.body[0].lineno, part.end_lineno,
                        f'        raise NotImplementedError("{question}: write {node.name}.{part.name}")')
                else:
                    cut(min([part.lineno, *(one.lineno for one in part.decorator_list)]), part.end_lineno)
        if ast.get_docstring(node) and node.body[0].end_lineno > node.body[0].lineno:  # what follows may give it away
            start, end = node.body[0].lineno, node.body[0].end_lineno
            lines[start - 1] = lines[start - 1].rstrip() + lines[end - 1].strip()[-3:]
            cut(start + 1, end)
    text = tidied(lines)
    while unused := unused_definition(text):
        lines = text.splitlines()
        cut(unused.lineno, unused.end_lineno)
        text = tidied(lines)
    return text, taken


def tidied(lines: list[str | None]) -> str:
    """Leave out what was cut, and the empty lines that are too many then."""
    text = "\n".join(line for line in lines if line is not None) + "\n"
    return re.sub(r"\n{3,}(?= )", "\n\n", re.sub(r"\n{4,}", "\n\n\n", text))


def unused_definition(source: str) -> ast.stmt | None:
    """The first function or class at the top that nothing else mentions."""
    body = ast.parse(source).body
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not any(
                isinstance(part, ast.Name) and part.id == node.name
                for other in body if other is not node for part in ast.walk(other)):
            return node
    return None


# ------------------------------------------------------------------------------------------------
# Folders


def copy(patterns: list[str], folder: Path) -> None:
    for pattern in patterns:
        files = sorted(ROOT.glob(pattern))
        if not files:
            raise UserError(f"{ROOT / pattern} is missing: run this in a complete copy of the project")
        for file in files:
            target = folder / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def build_handout(folder: Path) -> list[str]:
    """Write the hand-out into a folder; return the lines that students have to find."""
    copy(HANDOUT, folder)
    shutil.copyfile(HERE / "SHEET.md", folder / "README.md")
    source, taken = blanked((ROOT / "colourization.py").read_text())
    (folder / "colourization.py").write_text(source)
    return taken


def build_autograder(folder: Path) -> None:
    copy(AUTOGRADER, folder)
    for name, text in ("setup.sh", SETUP), ("run_autograder", RUN_AUTOGRADER):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def publish(folder: Path, target: Path) -> None:
    """Move a finished folder, or an archive of it, to where it is wanted."""
    if target.suffix == ".zip":
        inside = "." if (folder / "run_autograder").exists() else folder.name  # Gradescope wants the files at the top
        root = folder if inside == "." else folder.parent
        archive = shutil.make_archive(str(folder.parent / "archive"), "zip", root, inside)
        shutil.move(archive, target)
    else:
        shutil.move(folder, target)


# ------------------------------------------------------------------------------------------------
# Proofs


def expect(what: str, holds: bool, found: object = "") -> None:
    if not holds:
        raise UserError(f"this is not so, and nothing was written: {what}; {found}")
    print(f"ok: {what}")


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", *map(str, arguments)], cwd=folder, capture_output=True, text=True)


def points(folder: Path, *submissions: Path) -> list[float]:
    """Return what the checker in ``folder`` gives to each; raise ``UserError`` if it fails or says an answer."""
    file = folder.parent / "points.json"
    done = run(folder, "-m", "pytest", "-p", "no:cacheprovider", "tests/assignment", "--submission", *submissions,
               "--points", file)
    if done.returncode > 1:
        raise UserError(f"the checker fails in the hand-out: {done.stdout[-300:]} {done.stderr[-300:]}")
    expect("the checker gives no answer", not (found := answers(file.read_text())), found)
    return [marked["points"] for marked in json.loads(file.read_text())]


def full_points() -> float:
    from .checks import CHECKS

    return round(sum(check.points for check in CHECKS), 2)


def leaks(folder: Path, taken: list[str]) -> list[str]:
    """Find answers, and lines of ``taken`` but for those of the given classes and a bare ``return name``, in texts."""
    source = (folder / "colourization.py").read_text()
    given = [ast.get_source_segment(source, node) for node in ast.parse(source).body
             if not isinstance(node, ast.ClassDef) or node.name in CLASSES]
    given.append((folder / "colour_regression.py").read_text())
    known = {line.strip() for text in given for line in text.splitlines()}
    wanted = {line.strip() for line in taken if not re.fullmatch(r"\W*|\s*return \w+", line)} - known
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            text, name = file.read_text(), file.relative_to(folder)
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {line}" for line in sorted(wanted) if line in text
                  and re.search(r"^\W*" + re.escape(line) + r"\W*$", text, re.MULTILINE)]
        found += [f"{name}: {answer}" for answer in answers(text)]
    return found


def answers(text: str) -> list[str]:
    """Find what answers a question that is to be answered in writing."""
    return [f"{question}: {match[0]}" for question, pattern in WRITTEN.items() if (match := re.search(pattern, text))]


def prove_handout(folder: Path, taken: list[str]) -> None:
    """Use the hand-out as a student would. Writes into ``folder``."""
    expect("no line of a solution and no answer is in any file", not (found := leaks(folder, taken)), found[:3])
    for line in ("load_data.py", "colour_regression.py",
                 "activations.py 7 --checkpoint weights/regression_cnn_k3_f32.pkl"):
        done = run(folder, *line.split())
        expect(f"python {line} works and gives no answer", done.returncode == 0 and not answers(done.stdout),
               f"{done.stderr[-300:]} {answers(done.stdout)}")
    said = run(folder, "colourization.py", "--valid").stderr
    expect("colourization.py --valid says what is to be done, in one line",
           said.startswith("error: question B is not done yet") and said.count("\n") == 1, said[-300:])
    empty, solved = points(folder, folder / "colourization.py", ROOT / "colourization.py")
    expect("the checker gives 0 points", empty == 0, empty)
    expect("a solution gets full points", solved == full_points(), solved)


def prove_autograder(folder: Path) -> None:
    """Mark a solution in a folder laid out like Gradescope's container."""
    container = folder.parent / "container" / "autograder"
    shutil.copytree(folder, container / "source")
    shutil.copy(folder / "run_autograder", container)
    (container / "submission").mkdir()
    shutil.copy(ROOT / "colourization.py", container / "submission")
    python = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(["bash", container / "run_autograder"], env=python, cwd="/", capture_output=True, text=True)
    results = container / "results" / "results.json"
    expect("the autograder writes its results", results.exists(), done.stderr[-300:])
    expect("a solution gets full points", (found := json.loads(results.read_text())["score"]) == full_points(), found)
    expect("no solution is in the bundle", not (folder / "colourization.py").exists())


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("dest", metavar="DEST", nargs="?", help="a folder, which must not exist yet, or a .zip")
    parser.add_argument("--autograder", metavar="FILE.zip", help="write the bundle for Gradescope instead")
    args = parser.parse_args(argv)
    if bool(args.dest) == bool(args.autograder):
        raise UserError("name a folder or a .zip for the hand-out, or a .zip with --autograder")
    target = Path(args.dest or args.autograder).absolute()
    if target.exists():
        raise UserError(f"{target} exists: remove it, or choose another name")
    if args.autograder and target.suffix != ".zip":
        raise UserError(f"Gradescope wants an archive: give --autograder a name that ends in .zip, not {target.name}")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent}: make it first")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, target.stem)
        folder.mkdir()
        if args.autograder:
            build_autograder(folder)
            prove_autograder(folder)
        else:
            taken = build_handout(folder)
            trial = Path(temporary, "trial", "copy")
            shutil.copytree(folder, trial)
            prove_handout(trial, taken)
        publish(folder, target)
    print(f"written: {target}")


if __name__ == "__main__":
    sys.exit(main())
