"""Files written whole or not at all, and locks."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from colour.system.files import ROOT, atomic_write, display_path, locked, sha256


def test_atomic_write(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path) as file:
        file.write(b"complete")
        assert not path.exists()
    assert path.read_bytes() == b"complete" and os.listdir(path.parent) == ["file.txt"]
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"complete" and os.listdir(path.parent) == ["file.txt"]


def test_a_file_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    there, synced = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_size, there.exists())))
    with atomic_write(there) as file:
        file.write(b"complete")
    assert synced == [(8, False)]


def test_a_link_stays_a_link_and_a_mode_a_mode(tmp_path):
    (tmp_path / "folder").mkdir()
    file, link = tmp_path / "folder" / "file", tmp_path / "link"
    file.touch()
    file.chmod(0o664)
    link.symlink_to("folder/file")
    with atomic_write(link) as opened:
        opened.write(b"new")
    assert link.is_symlink() and file.read_bytes() == b"new" and file.stat().st_mode & 0o777 == 0o664
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"] and os.listdir(tmp_path / "folder") == ["file"]


def test_write_error_names_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "file" / "in it"):
        pass
    assert error.value.filename == str(tmp_path / "file" / "in it")


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_display_path(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert str(display_path("a/../b.txt")) == "b.txt"
    assert display_path(tmp_path / "there.txt") == tmp_path / "there.txt"


def test_only_one_holds_a_lock(tmp_path):
    with locked(tmp_path / "lock") as free:
        assert free
        with locked(tmp_path / "lock") as again:
            assert not again
        with locked(tmp_path / "other") as other:
            assert other
    assert not os.listdir(tmp_path)
    with locked(tmp_path / "lock") as free:
        assert free


HOLD = """if True:
    import time
    from colour.system.files import locked
    with locked("lock"):
        print("held", flush=True)
        time.sleep(60)"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_lock_ends_with_its_process(holder, tmp_path):
    with locked(tmp_path / "lock") as free:
        assert not free
    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock") as free:
        assert free
    assert not os.listdir(tmp_path)


def test_wait_for_a_lock(holder, tmp_path, capsys):
    threading.Timer(0.3, holder.kill).start()
    with locked(tmp_path / "lock", waiting="waiting for another process") as free:
        assert free and holder.poll() is not None
    assert capsys.readouterr().err == "waiting for another process\n"


def test_no_locks_on_this_drive(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    for _ in range(2):
        with locked(tmp_path / "lock") as free, locked(tmp_path / "lock") as again:
            assert free and again
    assert not os.listdir(tmp_path)
