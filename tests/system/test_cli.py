"""cli: streams that are closed or full, Ctrl-C at any time, names that terminals should not get."""

import os
import signal
import subprocess
import sys
import time

import pytest

from colour.system.cli import Parser, UserError, brief, command, exit_on_interrupt, one_line, progress, warn
from colour.system.files import ROOT

SCRIPT = '''
import os, sys
from contextlib import suppress
from tqdm import tqdm
from colour.system.cli import command, warn

@command
def main(argv):
    with open("result", "w") as file:
        print("a result")
        warn("a warning")
        for i in tqdm(range(3), disable=False):
            tqdm.write(f"line {i}")
            file.write(f"{i}\\n")
        sys.stdin.read() if sys.stdin else None
        print("x" * 100_000, flush=True)
        for descriptor in 1, 2:  # as libraries in C write: into the file, if it took the place of a closed stream
            with suppress(OSError):
                os.write(descriptor, b"from a library")

sys.exit(main())
'''
STREAMS = ["0<&-", "1>&-", "1>/dev/full", "2>&-", "2>/dev/full"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no disk that is always full")
@pytest.mark.parametrize("streams", [*STREAMS, "0<&- 1>&-", "0<&- 1>&- 2>&-", "0<&- 1>/dev/full 2>/dev/full"])
def test_closed_or_full_streams(streams, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(f"'{sys.executable}' script.py {streams}", shell=True, cwd=tmp_path, capture_output=True,
                          text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert (tmp_path / "result").read_text() == "0\n1\n2\n"  # and nothing else: no stream's lines
    if "1>/dev/full" in streams and "2>" not in streams:
        assert "warning: <stdout>: No space left on device" in done.stderr
    elif "1>" not in streams:
        assert done.stdout.startswith("a result\nline 0\n")


def test_python_without_a_console(tmp_path):
    """As pythonw has it: the streams are None."""
    (tmp_path / "script.py").write_text("import sys\nsys.stdin = sys.stdout = sys.stderr = None\n" + SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and (tmp_path / "result").read_text() == "0\n1\n2\n"


def test_reader_goes_away(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(f"('{sys.executable}' script.py; echo $? >status) | head -1", shell=True, cwd=tmp_path,
                          capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stdout == "a result\n" and (tmp_path / "status").read_text() == "0\n"
    assert "Traceback" not in done.stderr and (tmp_path / "result").read_text() == "0\n1\n2\n"


def interrupted(process, seen) -> tuple[int, str]:
    """Send Ctrl-C once ``seen`` exists; return the exit status and standard error."""
    try:
        while not seen.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        return process.returncode, error
    finally:
        process.kill()


@pytest.mark.parametrize("script", ["colourization.py", "colour_regression.py", "activations.py", "load_data.py",
                                    "colour/kmeans.py"])
def test_interrupted_while_importing(script, tmp_path):
    for library in "torch", "numpy":
        (tmp_path / f"{library}.py").write_text("import pathlib, time\npathlib.Path('seen').touch()\ntime.sleep(60)")
    process = subprocess.Popen([sys.executable, ROOT / script], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert interrupted(process, tmp_path / "seen") == (-signal.SIGINT, "")


def test_interrupted_at_work(tmp_path):
    """The work is left by an exception, which tidies up."""
    code = """if True:
        from colour.system.cli import command, exit_on_interrupt
        exit_on_interrupt()
        import pathlib, time

        @command
        def main(argv):
            try:
                pathlib.Path("seen").touch()
                time.sleep(60)
            finally:
                pathlib.Path("tidy").touch()

        main()"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert interrupted(process, tmp_path / "seen") == (-signal.SIGINT, "interrupted\n")
    assert (tmp_path / "tidy").exists()


def test_a_notebook_goes_on(monkeypatch, capsys):
    """The cell ends, and denormal numbers count again."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    torch.set_flush_denormal(False)

    @command
    def main(argv):
        torch.set_flush_denormal(True)
        raise KeyboardInterrupt("saved", signal.SIGTERM)

    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 143 and capsys.readouterr().err == "saved\n" and sys.float_info.min / 2 > 0
    exit_on_interrupt()
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL


def test_a_terminal_of_no_columns_shows_progress(monkeypatch):
    pty = pytest.importorskip("pty")
    terminal, end = pty.openpty()
    with open(end, "w") as stderr, open(terminal, "rb"):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert list(progress("abc", 3, desc="letters", unit="letter")) == ["a", "b", "c"]
        assert b"letters:   0%" in os.read(terminal, 1000)


def test_home_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = Parser()
    parser.add_argument("--path", action="extend", nargs="+")
    assert parser.parse_args(["--path=~/a", "--path", "~/b", "c~"]).path == ["/home/me/a", "/home/me/b", "c~"]


def test_ignored_interrupt():
    code = """if True:
        import os, signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
        from colour.system.cli import command, exit_on_interrupt
        exit_on_interrupt()
        os.kill(os.getpid(), signal.SIGINT)
        command(lambda argv: os.kill(os.getpid(), signal.SIGINT))()
        print("done")"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_import_changes_nothing():
    code = """if True:
        import signal, sys
        streams, handler = (sys.stdout, sys.stderr), signal.getsignal(signal.SIGINT)
        import colour.system.cli
        assert (sys.stdout, sys.stderr) == streams and signal.getsignal(signal.SIGINT) is handler
        assert not {"torch", "numpy", "PIL", "tqdm"} & sys.modules.keys()"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


CONTROLS = "".join(map(chr, (*range(32), *range(127, 160))))


def test_no_control_characters(capsys):
    name = f"a{CONTROLS}\u202eb.jpg"  # the last one turns the direction of text

    @command
    def main(argv):
        print(f"name: {name}")
        warn(f"name: {name}")
        raise UserError(f"there is no {name}")

    with pytest.raises(SystemExit) as end:
        main([])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert not set(out) & set(CONTROLS) - set("\n\r\t")
    assert not set(err) & set(CONTROLS + "\u202e") - {"\n"}
    assert [line.partition(":")[0] for line in err.splitlines()] == ["warning", "error"]


@pytest.mark.parametrize("error, line", [
    (UserError("it is wrong:\n mend it"), "error: it is wrong: mend it"),
    (FileNotFoundError(2, "No such file", "x.pkl"), "error: x.pkl: No such file"),
    (NotImplementedError("question B is not done yet"), "error: question B is not done yet"),
    *((error, "error: there is not enough memory: give a smaller --batch_size, --num_filters or --size") for error in (
        MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory"), OSError(12, "Cannot allocate memory")))])
def test_one_line_and_status_two(error, line, monkeypatch, capsys):
    @command
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2 and capsys.readouterr().err == line + "\n"
    monkeypatch.setenv("COLOUR_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        main([])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback ") and "    raise error" in lines and lines[-1] == line


def test_a_bug_is_no_user_error():
    with pytest.raises(KeyError):
        command(lambda argv: {}["x"])([])


def test_one_line():
    assert one_line("größe  \U0001f40e.jpg") == "größe  \U0001f40e.jpg"
    assert one_line("a\n\x1b[31m\udcff") == r"a\n\x1b[31m\udcff"
    assert brief(ValueError("several\n  lines")) == "several lines" and brief(ValueError()) == "ValueError"
    assert brief(ValueError("x" * 201)) == "x" * 200


def test_streams_are_put_back(capsys):
    before = sys.stdout, sys.stderr
    assert command(lambda argv: print("here"))([]) == 0
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr().out == "here\n"
