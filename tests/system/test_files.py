"""Files written whole or not at all, and locks."""

import os

import pytest

from colour.system.files import atomic_write, display_path, locked, sha256


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path) as file:
        file.write(b"complete")
        assert not path.exists()
    assert path.read_bytes() == b"complete" and os.listdir(path.parent) == ["file.txt"]
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"complete" and os.listdir(path.parent) == ["file.txt"]


def test_an_error_in_writing_names_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "file" / "in it"):
        pass
    assert error.value.filename == str(tmp_path / "file" / "in it")


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_paths_are_displayed_from_the_working_folder_on(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert str(display_path("a/../b.txt")) == "b.txt"
    assert display_path(tmp_path / "there.txt") == tmp_path / "there.txt"


def test_only_one_holds_a_lock(tmp_path):
    with locked(tmp_path / "lock") as free:
        assert free
        with locked(tmp_path / "lock") as again:
            assert not again
    assert not (tmp_path / "lock").exists()
    with locked(tmp_path / "lock") as free:
        assert free
