"""The hand-out and the autograder bundle: made, opened as a student would, solved, marked."""

import ast
import subprocess
import sys
import zipfile

import pytest

from colour.system.files import ROOT
from tests import forking
from tests.assignment import handout


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The hand-out, as ``main`` writes it; it proves itself there."""
    folder = tmp_path_factory.mktemp("handout") / "assignment2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handout, "run", lambda folder, *words: forking.run(words, folder))
        handout.main([str(folder)])
    return folder


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


def test_a_leak_is_found(made, tmp_path):
    _, taken = handout.blanked((ROOT / "colourization.py").read_text())
    assert handout.leaks(made, taken) == []
    for line in "spread[:, :, ::step, ::step] = self.weight", "up1 = self.upconv1(torch.cat([middle, down2], dim=1))":
        assert any(line in one for one in taken)
        note = made / "colour" / "note.txt"
        note.write_text(f"a note\n    {line}\n")
        assert handout.leaks(made, taken) == [f"colour/note.txt: {line}"]
        note.unlink()


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
    """Question after question: a network works before the next is begun."""
    solution = {node.name: ast.get_source_segment(text, node) for text in [(ROOT / "colourization.py").read_text()]
                for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    path = made / "colourization.py"
    handed_out = path.read_text()
    helpers = "\n\n\n".join(solution[name] for name in solution if f"class {name}" not in handed_out
                            and f"def {name}" not in handed_out)
    try:
        for name, model, status in ("CNN", "UNet", 2), ("UNet", "UNet", 0), ("MyDilatedConv2d", "DUNet", 0):
            text = path.read_text()
            blank = next(ast.get_source_segment(text, node) for node in ast.parse(text).body
                         if getattr(node, "name", "") == name)
            path.write_text(text.replace(blank, (f"{helpers}\n\n\n" if name == "CNN" else "") + solution[name]))
            done = forking.run(["colourization.py", "--model", model, "--valid", "--holdout", "100"], made)
            assert done.returncode == status, done.stderr
            if status == 0:
                assert "Val Acc" in done.stdout
            else:
                assert done.stdout == "" and done.stderr.startswith("error: question C is not done yet")
                assert done.stderr.count("\n") == 1
        done = forking.run(["-m", "pytest", "-p", "no:cacheprovider", "tests/assignment", "-k", "B-conv or G-"], made)
        assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout
    finally:
        path.write_text(handed_out)


def test_archive_holds_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "prove_handout", lambda *_: None)
    handout.main([str(tmp_path / "a2.zip")])
    with zipfile.ZipFile(tmp_path / "a2.zip") as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"a2"}
        assert b"question B" in archive.read("a2/colourization.py")


def test_autograder_bundle(tmp_path):
    handout.main(["--autograder", str(tmp_path / "autograder.zip")])
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
    assert {"setup.sh", "run_autograder"} <= names and not {"colourization.py", "activations.py", "README.md"} & names


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
