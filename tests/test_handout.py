"""The hand-out and the autograder bundle: made, opened as a student would, solved, marked."""

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from colour.system.files import ROOT
from tests import forking
from tests.assignment import handout

pytestmark = pytest.mark.xdist_group("handout")  # they share one

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The hand-out, as ``main`` writes it after its proofs; what the checker gives in it is seen below."""
    folder = tmp_path_factory.mktemp("handout") / "assignment2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handout, "run", run)
        patch.setattr(handout, "points", lambda *_: [0, handout.full_points()])
        handout.main([str(folder)])
    return folder


def run(folder, *words):
    return forking.run([str(word) for word in words], folder)


def test_only_what_students_need(made):
    names = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert {name for name in names if "/" not in name} == {
        "README.md", "colourization.py", "colour_regression.py", "activations.py", "load_data.py", "requirements.txt",
        "pyproject.toml", "LICENSE", ".gitignore"}
    assert {name.split("/")[0] for name in names if "/" in name} == {"colour", "data", "weights", "tests"}
    assert not any("handout" in name or "writeup" in name or "__pycache__" in name for name in names)
    assert {name for name in names if name.startswith("tests/")} <= {"tests/__init__.py", *(
        f"tests/assignment/{path.name}" for path in (ROOT / "tests" / "assignment").glob("*.py"))}
    assert (made / "README.md").read_text() == (ROOT / "tests" / "assignment" / "SHEET.md").read_text()


def test_bodies_are_gone(made):
    tree, own = (ast.parse((folder / "colourization.py").read_text()) for folder in (made, ROOT))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"MyConv2d", "MyDilatedConv2d", "CNN", "UNet", "DilatedUNet"} == classes.keys()
    for node in own.body:
        if isinstance(node, ast.ClassDef) and node.name in ("MyConv2d", "DilatedUNet"):
            assert ast.dump(node) == ast.dump(classes[node.name])
    for name, question in ("CNN", "B"), ("UNet", "C"), ("MyDilatedConv2d", "G"):
        methods = {part.name: part for part in classes[name].body if isinstance(part, ast.FunctionDef)}
        assert methods.keys() == {"__init__", "forward"}
        empty = [method for method in methods.values() if isinstance(method.body[0], ast.Raise)]
        assert len(empty) == (1 if name == "MyDilatedConv2d" else 2)
        assert all(f"question {question} is not done yet" in ast.unparse(method) for method in empty)
    check = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=made, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


LEAKS = {  # a file, what is added to it, and what is found
    "README.md": ("1x32x32   fx16x16       2fx8x8", "A.1: 2fx8x8"),
    "activations.py": ("'The mean has the least squared error.'", "A.2: least squared error"),
    "colour/note.txt": ("    spread[:, :, ::step, ::step] = self.weight",
                        "spread[:, :, ::step, ::step] = self.weight"),
    "colourization.py": ("class ResUNet(UNet):\n    def forward(self, x):\n        down1 = self.downconv1(x)",
                         "down1 = self.downconv1(x)"),
    "tests/assignment/checks.py": ("'has 86,352 weights and biases'", "D.2: 86,352"),
    "weights/cnn_k3_f32.json": ("0.863521 1.86352", None)}


def test_every_number_of_weights_is_an_answer():
    numbers = "86,352", "86784", "111,912", "112,344", "12,112,344", "112,3440"
    assert [bool(handout.answers(f"It has {number} weights.")) for number in numbers] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("broken, said", [
    ({}, ""), ({"leaks": lambda *_: ["a line"]}, "no line of a solution"),
    ({"empty": 0.5}, "gives 0 points"), ({"solved": 5}, "gets full points"), ({"found": "86,352"}, "gives no answer"),
    ({"stdout": "least squared error"}, "gives no answer"), ({"returncode": 1}, "load_data.py works"),
    ({"stderr": "Traceback"}, "says what is to be done")])
def test_nothing_is_written_without_proof(broken, said, tmp_path, monkeypatch, capsys):
    facts = {"empty": 0, "solved": handout.full_points(), "found": "", "stdout": "", "returncode": 0,
             "stderr": "error: question B is not done yet\n"} | broken

    def run(folder, *arguments):
        rows = [{"points": facts[name], "found": facts["found"]} for name in ("empty", "solved")]
        (folder.parent / "points.json").write_text(json.dumps(rows))
        return SimpleNamespace(**{name: facts[name] for name in ("stdout", "stderr", "returncode")})

    monkeypatch.setattr(handout, "run", run)
    monkeypatch.setattr(handout, "leaks", broken.get("leaks", lambda *_: []))
    try:
        handout.main([str(tmp_path / "a2")])
    except SystemExit:
        assert said and said in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    else:
        assert not said and (tmp_path / "a2" / "README.md").exists()


def test_leaks_are_found(made, tmp_path):
    _, taken = handout.blanked((ROOT / "colourization.py").read_text())
    shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("*.pkl", "*.npz"))
    for place, (text, _) in LEAKS.items():
        with open(tmp_path / "copy" / place, "a") as file:
            file.write(f"\n\n{text}\n")
    assert handout.leaks(tmp_path / "copy", taken) == [f"{place}: {found}" for place, (_, found) in LEAKS.items()
                                                       if found]


SOURCE = """
class CNN:
    '''The first line.

    The answer is 7.
    '''

    def __init__(self, a,
                 b):
        '''Make it.'''
        self.a = a

    @property
    def kept(self):
        return helper()

    size = 1


def helper():
    return other()


def other():
    return 7


print(CNN)
"""


def test_bodies_are_found_by_their_names():
    text, taken = handout.blanked(SOURCE)
    assert text == """
class CNN:
    '''The first line.'''

    def __init__(self, a,
                 b):
        raise NotImplementedError("question B is not done yet: write CNN.__init__")

    size = 1


print(CNN)
"""
    assert sum("7" in line for line in taken) == 2


def test_student_solves_it(made):
    """Question after question: a message speaks of the one that was asked for, and in the end all is scored."""
    solution = {node.name: ast.get_source_segment(text, node) for text in [(ROOT / "colourization.py").read_text()]
                for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    path = made / "colourization.py"
    handed_out = path.read_text()
    helpers = "\n\n\n".join(solution[name] for name in solution if f"class {name}" not in handed_out
                            and f"def {name}" not in handed_out)
    try:
        for name, model, undone in ("CNN", "UNet", "C"), ("UNet", "DUNet", "G"), ("MyDilatedConv2d", "", ""):
            text = path.read_text()
            blank = next(ast.get_source_segment(text, node) for node in ast.parse(text).body
                         if getattr(node, "name", "") == name)
            path.write_text(text.replace(blank, (f"{helpers}\n\n\n" if name == "CNN" else "") + solution[name]))
            if undone:
                done = run(made, "colourization.py", "--valid", "--model", model)
                assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
                assert done.stderr.startswith(f"error: question {undone} is not done yet")
        weights = [f"weights/{stem}_k3_f16.pkl" for stem in ("cnn", "unet", "dunet")]
        done = run(made, "colourization.py", "--holdout", "100", "--compare", *weights)
        assert done.returncode == 0 and "dunet_k3_f16 " in done.stdout and done.stderr == ""
    finally:
        path.write_text(handed_out)


def test_the_hand_out_earns_nothing(made, tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "run", run)
    shutil.copy(made / "colourization.py", tmp_path / "copy.py")
    assert handout.points(made, made / "colourization.py", tmp_path / "copy.py") == [0, 0]


def test_archive_holds_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "prove_handout", lambda *_: None)
    handout.main([str(tmp_path / "a2.zip")])
    with zipfile.ZipFile(tmp_path / "a2.zip") as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"a2"}
        assert b"question B" in archive.read("a2/colourization.py")


def test_autograder_bundle(made, tmp_path):
    """It gives a solution full points, in a folder like Gradescope's."""
    handout.main(["--autograder", str(tmp_path / "autograder.zip")])
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    own = {"setup.sh", "run_autograder"}
    assert own <= names and not {"colourization.py", "activations.py", "README.md"} & names
    assert all((made / name).is_file() for name in names - own)  # so the checker has all it needs in the hand-out, too


@pytest.mark.parametrize("arguments, said", [
    ([], "name a folder"), (["a", "--autograder", "b.zip"], "name a folder"),
    (["--autograder", "b.tar"], "ends in .zip"), (["here"], "here exists"), (["no/where"], "there is no folder")])
def test_mistake_of_a_user_is_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(SystemExit) as exit:
        handout.main(arguments)
    error = capsys.readouterr().err
    assert exit.value.code == 2 and said in error and error.startswith("error: ") and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_failed_proof_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(handout, "QUESTIONS", {"CNN": "B"})
    monkeypatch.setattr(handout, "run", lambda *_: subprocess.CompletedProcess([], 0, "", ""))
    with pytest.raises(SystemExit):
        handout.main([str(tmp_path / "a2")])
    assert "this is not so, and nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
