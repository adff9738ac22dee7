"""The checker: wrong solutions lose exactly the points of what is wrong, and nothing else happens.

Each is this project's own ``colourization.py`` with a few words exchanged.
"""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from colour.files import ROOT
from colour.palette import Palette
from colourization import Data, evaluate, load_model, load_sets
from tests.assignment import checks
from tests.assignment import sandbox as sandbox_module
from tests.assignment.checks import CHECKS, Submission, outdated
from tests.assignment.sandbox import Sandbox

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the checker needs fork")

ALL = {check.id for check in CHECKS}
FORWARD = {"shapes", "training", "weights"}  # the checks that every network's forward is needed for
C_FORWARD = {f"C-{name}" for name in FORWARD | {"join-upconv1", "join-upconv2", "join-finalconv"}}
D_FORWARD = {f"D-{name}" for name in FORWARD | {"joins", "dilation"}}
UNETS = {"C-weights", "D-weights", "D-joins"}  # what a UNet with a wrong join loses beside that join

UPCONV1 = "up1 = self.upconv1(torch.cat([middle, down2], dim=1))"
DILATED_FORWARD = """        weight = self.dilated_weight()
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)
"""
MIDDLE = "self.rfconv[0] = MyDilatedConv2d(2 * num_filters, 2 * num_filters, kernel, dilation)"
CNN_FORWARD = "up2 = self.upconv2(up1)"

WRONG = {  # what is exchanged, and the checks that are lost
    "a DilatedUNet that is a UNet": (MIDDLE, "pass", {"D-dilation", "D-weights"}),
    "dilation that does nothing":
        (DILATED_FORWARD, "        return super().forward(x)\n",
         {"D-dilation", "D-weights", "G-values", "G-gradients", "G-own"}),
    "a detached gradient": ("::step] = self.weight", "::step] = self.weight.data", {"G-gradients", "D-training"}),
    "the library's dilation":
        (DILATED_FORWARD, "        gaps = self.dilation + 1\n        return F.conv2d(x, self.weight, self.bias, "
                          "dilation=gaps, padding=self.weight.shape[-1] // 2 * gaps)\n", {"G-own"}),
    "the library's dilation, in the network alone":
        (MIDDLE, "self.rfconv[0] = nn.Conv2d(2 * num_filters, 2 * num_filters, kernel, dilation=2, padding=kernel - 1)",
         {"G-own"}),
    "the library's dilation as unfold":
        (DILATED_FORWARD, """        gaps, k = self.dilation + 1, self.weight.shape[-1]
        columns = F.unfold(x, k, dilation=gaps, padding=k // 2 * gaps)
        return (self.weight.flatten(1) @ columns).unflatten(2, x.shape[2:]) + self.bias[:, None, None]
""", {"G-own"}),
    "a join in the wrong order": (UPCONV1, UPCONV1.replace("middle, down2", "down2, middle"),
                                  {"C-join-upconv1", *UNETS}),
    "a join of another layer":
        (UPCONV1, UPCONV1.replace("down2]", "F.max_pool2d(torch.cat([down1, down1], dim=1), 2)]"),
         {"C-join-upconv1", *UNETS}),
    "a skip that is missing": ("torch.cat([up1, down1], dim=1)", "torch.cat([up1, up1], dim=1)",
                               {"C-join-upconv2", *UNETS}),
    "no grey at the end": ("torch.cat([up2, x], dim=1)", "torch.cat([up2, up2[:, :1]], dim=1)",
                           {"C-join-finalconv", *UNETS}),
    "wrong channels":
        ("""        self.rfconv = same_block(conv(2 * f, 2 * f, kernel), 2 * f)
        self.upconv1 = up_block(conv(2 * f, f, kernel), f)
""", """        self.rfconv = same_block(conv(2 * f, 4 * f, kernel), 4 * f)
        self.upconv1 = up_block(conv(4 * f, f, kernel), f)
""", {"B-parameters", "B-weights"}),
    "no padding": ("return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)",
                   "return F.conv2d(x, self.weight, self.bias)",
                   {"B-convolution", "B-shapes", "B-training", "B-weights", *C_FORWARD, *D_FORWARD, "G-own"}),
    "too much memory": (CNN_FORWARD, "up2 = self.upconv2(up1) + torch.ones(1 << 31).sum()",
                        {f"B-{name}" for name in FORWARD}),
    "a crash": (CNN_FORWARD, "import ctypes; ctypes.string_at(0)", {f"B-{name}" for name in FORWARD}),
    "an exit that looks like success": (CNN_FORWARD, "import os; os._exit(0)", {f"B-{name}" for name in FORWARD}),
    "an endless loop": (CNN_FORWARD, "while True: pass", {f"B-{name}" for name in FORWARD}),
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_SECRET", "hush")  # the worker starts with the first question
        yield sandbox


@pytest.fixture(scope="module", autouse=True)
def fewer_horses():
    """The given weights score on 100 test horses here, to save time."""
    palette = Palette.load()
    valid = load_sets("horse", None, None, torch.device("cpu"), palette)[1]
    few = Data(valid.images[:100], valid.labels[:100])
    figures = {name: evaluate(load_model(ROOT / "weights" / f"{name}.pkl", palette=palette)[0], few)["acc"]
               for name in checks.TRAINED.values()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "SCORED", 100)
        patch.setattr(checks, "stated_accuracy", figures.get)
        yield


def own_source() -> str:
    return (ROOT / "colourization.py").read_text()


def submitted(sandbox, folder, source) -> Submission:
    path = folder / "colourization.py"
    path.write_text(source)
    return Submission(path, sandbox)


def lost(submission, parts="BCDG") -> dict[str, str]:
    """What was found where points are lost."""
    verdicts = {check.id: check(submission.ask) for check in CHECKS if check.part in parts}
    return {name: verdict.found for name, verdict in verdicts.items() if verdict.complaints}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_solutions_lose_the_points_of_what_is_wrong(sandbox, tmp_path, monkeypatch, name):
    before, after, expected = WRONG[name]
    assert before in own_source()
    submission = submitted(sandbox, tmp_path, own_source().replace(before, after, 1))
    if name == "an endless loop":
        monkeypatch.setattr(sandbox, "seconds", 5)
    # The CNN shares nothing with the UNets but MyConv2d: to save time, only those are checked that were touched.
    parts = "B" * any(name.startswith("B") for name in expected) + "CDG" * any(name[0] in "CDG" for name in expected)
    assert lost(submission, parts).keys() == expected


def test_a_right_solution_under_other_names_loses_nothing(sandbox, tmp_path):
    source = own_source().replace("MyDilatedConv2d", "Atrous").replace("MyConv2d", "OurConv")
    conv = source[source.index("class Atrous"):source.index("# Networks.")]
    source = source.replace(conv, conv.replace("dilation: int", "gap: int").replace("dilation <", "gap <")
                            .replace("not {dilation}", "not {gap}").replace("= dilation", "= gap"))
    unet = source[source.index("class DilatedUNet"):source.index("MODELS =")]
    source = source.replace(unet, unet.replace(", dilation: int = 1", "").replace(", dilation)", ", 1)"))
    assert lost(submitted(sandbox, tmp_path, source)) == {}


FORGED = """
import json, os
forged = json.dumps({"saw": [], "result": '{"saw": []}', "late": False, "status": 0, "output": "", "points": 7}) + "\\n"
print(forged, flush=True)
for descriptor in range(64):
    try:
        os.write(descriptor, forged.encode())
    except OSError:
        pass
os._exit(0)
"""
AT_IMPORT = {  # what a submission does when it is imported, and what is said of it
    "import os; os._exit(0)": "it ended without an answer, with the exit status 0",
    "import sys; sys.exit()": "SystemExit",
    "while True: pass": "no answer within 4 seconds",
    "import os\nwhile True: os.write(1, bytes(1 << 20))": "File too large",
    "import torch\nkept = []\nwhile True: kept.append(torch.ones(1 << 24))": "can't allocate memory",
    FORGED: "",  # an answer to "import it", and from then on none
    "import no_such_helper": "line 1, `import no_such_helper`: ModuleNotFoundError",
    "raise ValueError('\\33[2J' + '\\a' * 5000)": "`: ValueError: [2J",
    "x.cuda(async=True)": "non_blocking",
    "print 'Epoch'": "Missing parentheses",
    "import torch\nloss = torch.tensor(1.).data[0]": "`loss.item()`",
    "import numpy as np\nnp.float(1)": "numpy's names",
    "import os\nraise ValueError(os.environ.get('A_SECRET'), os.listdir())": "ValueError: (None, [])",
    "import os\nos.read(0, 1)[0]": "IndexError",
    "from colourization import CNN": "cannot import name 'CNN' from 'colourization'",
}


@pytest.mark.parametrize("source", AT_IMPORT)
def test_what_fails_at_import_has_no_points_and_is_told_why(sandbox, tmp_path, monkeypatch, source):
    monkeypatch.setattr(sandbox, "seconds", 4 if "while True: pass" in source else 60)
    found = lost(submitted(sandbox, tmp_path, source))
    assert found.keys() == ALL
    for line in found.values():
        assert AT_IMPORT[source] in line
        assert line.isprintable() and len(line) < 1000


@pytest.mark.parametrize("end, said", [
    ("pass", "there is no class CNN"), ("os.kill(os.getppid(), signal.SIGKILL)", "ended the process that watches"),
    ("os.kill(os.getppid(), signal.SIGSTOP)", "ended the process that watches")])
def test_nothing_is_left_running(sandbox, tmp_path, monkeypatch, end, said):
    monkeypatch.setattr(sandbox, "seconds", 4)
    monkeypatch.setattr(sandbox_module, "GRACE", 1)
    traces = tmp_path / "traces"
    found = lost(submitted(sandbox, tmp_path, f"""
import os, signal
def leave_traces():
    while True:
        open({str(traces)!r}, "a").write(".")
if not os.fork():
    leave_traces()
while not os.path.exists({str(traces)!r}): pass
if {end!r} != "pass":
    {end}
    leave_traces()
"""), "B")
    assert all(said in line for name, line in found.items() if name != "B-convolution")
    size = traces.stat().st_size
    time.sleep(0.5)
    assert traces.stat().st_size == size > 0


def test_helpers_of_the_submission_come_before_the_projects(sandbox, tmp_path):
    (tmp_path / "load_data.py").write_text("def load_category(*args): pass\nmine = 'mine'\ncategory_name = mine\n")
    submission = submitted(sandbox, tmp_path, f"from load_data import mine\n{own_source()}")
    sizes = {"network": "CNN", "sizes": [3, 4, 3]}
    assert len(submission.ask("parameters", sizes)[0]) > 12
    assert {path.name for path in tmp_path.iterdir()} == {"colourization.py", "load_data.py"}


@pytest.mark.parametrize("losses, still", [([3.2, 3.1, 3.0], []), ([3.2, 1, float("nan")], []),
                                           ([3.2, 2, 1], ["rfconv.0.weight"]), ([3.2], []), ("7 points", [])])
def test_what_does_not_learn_has_no_points(losses, still):
    check = next(check for check in CHECKS if check.name == "training")
    assert check(lambda *_: [{"losses": losses, "still": still}]).complaints
    assert not check(lambda *_: [{"losses": [3.2, 2, 1], "still": []}]).complaints


def test_points_are_the_sheets():
    points = {part: sum(check.points for check in CHECKS if check.part == part) for part in "BCDG"}
    assert points == pytest.approx({"B": 2, "C": 3, "D": 1, "G": 1})
    assert len(ALL) == len(CHECKS)


def test_outdated_lines_are_named_and_this_project_has_none(tmp_path):
    path = tmp_path / "old.py"
    path.write_text("loss = f(x)\nx = Variable(x, volatile=True)\ntotal += loss.data[0]\nprint (1)\n")
    assert [line.split(":")[0] for line in outdated(path)] == ["line 2", "line 3"]
    assert outdated(ROOT / "colourization.py") == []


def checker(*arguments):
    return subprocess.run([sys.executable, "-m", "pytest", "tests/assignment", "-p", "no:cacheprovider", *arguments],
                          cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_command_prints_a_table_and_writes_the_points(tmp_path):
    before, after, expected = WRONG["a detached gradient"]
    (tmp_path / "wrong.py").write_text(own_source().replace(before, after) + "\n# x.cuda(async=True)\n")
    done = checker("--submission", tmp_path / "wrong.py", "--points", tmp_path / "new" / "points.json", "-k", "G-")
    assert done.returncode == 1
    assert "G  values           0.3 of 0.3\nG  gradients        0.0 of 0.3\n     expected: gradients of" in done.stdout
    assert "part G: 0.7 of 1.0\ntogether: 0.7 of 7.0\noutdated, line" in done.stdout
    points = json.loads((tmp_path / "new" / "points.json").read_text())
    assert (points["points"], points["of"], points["parts"]["G"]) == (0.7, 7, [0.7, 1])
    rows = {f"{row['part']}-{row['check']}": row for row in points["checks"]}
    assert rows.keys() == ALL
    assert "no gradient reaches weight" in rows["G-gradients"]["found"]
    assert rows["C-weights"]["found"] == "not run"


def test_a_missing_submission_is_one_line(tmp_path):
    done = checker("--submission", tmp_path / "nowhere.py")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stdout == "" and done.stderr.strip().count("\n") == 0
    assert done.stderr.startswith(f"ERROR: there is no file {tmp_path / 'nowhere.py'}: ")
