"""CIFAR-10: the embedded horses, the batch files, the archive, and its download from a server on this machine."""

import functools
import gzip
import hashlib
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from colour.data import cifar10
from colour.data.cifar10 import ARCHIVE, FOLDER, HORSES
from colour.system.cli import UserError
from colour.system.files import ROOT
from tests.cifar import SMALL, answer, assert_is, make_archive, make_batches, pickle2, source_of
from tests.helpers import Hostile, one_line

# The embedded horses


def test_horses_are_those_of_cifar():
    x_train, x_test = cifar10.load_horses()
    assert x_train.shape == (5000, 3, 32, 32) and x_test.shape == (1000, 3, 32, 32)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert (hashlib.sha256(x_train.tobytes()).hexdigest()
            == "1c80652eb2ff6ba7c11b4ffef7eafd39579e2bba4307757d546bba48817af5d9")
    assert (hashlib.sha256(x_test.tobytes()).hexdigest()
            == "83eea4a15f3807217b1f3906af46e3fd97f62324acb5c70225def6e8df43892f")


def flip_pixel(path):
    with np.load(HORSES) as file:
        arrays = dict(file)
    arrays["x_test"][999, 2, 31, 31] ^= 1
    np.savez(path, **arrays)


DAMAGES = {
    "pixel": flip_pixel,
    "cut": lambda path: path.write_bytes(HORSES.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "missing": lambda path: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_horses(tmp_path, damage):
    path = tmp_path / "horses.npz"
    DAMAGES[damage](path)
    with pytest.raises(UserError, match="git checkout data/cifar10_horses.npz") as error:
        cifar10.load_horses(path)
    assert str(path) in one_line(error)
    path.unlink(missing_ok=True)


# The folder with the batch files


def test_full_size():
    with tempfile.TemporaryDirectory() as temporary:  # 184 MB, not kept as tmp_path would be
        images, labels = make_batches(Path(temporary, FOLDER), 10_000)
        (x_train, y_train), (x_test, y_test) = cifar10.load_cifar10(temporary)
    assert x_train.shape == (50000, 3, 32, 32) and x_test.shape == (10000, 3, 32, 32)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.shape == (50000,) and y_test.shape == (10000,)
    assert y_train.dtype == y_test.dtype == np.int64
    assert np.array_equal(x_train, images[:50000]) and np.array_equal(y_train, labels[:50000])
    assert np.array_equal(x_test, images[50000:]) and np.array_equal(y_test, labels[50000:])


def test_folder_or_its_parent(small, monkeypatch):
    folder, images, labels = small
    monkeypatch.setattr(cifar10, "download", lambda *_: pytest.fail("downloaded what is there"))
    assert_is(cifar10.load_cifar10(folder), images, labels)
    assert_is(cifar10.load_cifar10(str(folder.parent)), images, labels)
    monkeypatch.chdir(folder)
    assert_is(cifar10.load_cifar10("."), images, labels)
    monkeypatch.setattr(cifar10, "ROOT", folder.parent.parent)
    assert_is(cifar10.load_cifar10(), images, labels)


def test_a_batch_of_terabytes_takes_no_memory(small):
    os.truncate(small[0] / "test_batch", 8 << 40)
    with pytest.raises(UserError, match="larger than 64 MB"):
        cifar10.load_cifar10(small[0])


def test_the_folder_with_the_most_batches_is_taken(small):
    folder, images, labels = small
    shutil.copy(folder / "test_batch", folder.parent)
    assert_is(cifar10.load_cifar10(folder.parent), images, labels)


@pytest.mark.parametrize("key", [str, str.encode])
def test_batches_that_python3_wrote(small, key):
    folder, images, labels = small
    batch = {key("data"): images[:SMALL].reshape(SMALL, -1), key("labels"): labels[:SMALL].tolist()}
    (folder / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    assert_is(cifar10.load_cifar10(folder), images, labels)


@pytest.mark.parametrize("place", ["whole", "labels", "data"])
def test_hostile_batch_runs_nothing(small, tmp_path, place):
    folder, images, labels = small
    batch = {"data": images[:SMALL].reshape(SMALL, -1), "labels": labels[:SMALL].tolist()}
    batch = Hostile(tmp_path / "owned") if place == "whole" else {**batch, place: Hostile(tmp_path / "owned")}
    (folder / "data_batch_2").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(UserError, match="data_batch_2 "):
        cifar10.load_cifar10(folder)
    assert not (tmp_path / "owned").exists()


def batch_with(**changes) -> bytes:
    batch = {"data": np.zeros((SMALL, 3072), np.uint8), "labels": [0] * SMALL, **changes}
    return pickle.dumps({key: value for key, value in batch.items() if value is not None}, protocol=2)


GOOD = pickle2(np.zeros((SMALL, 3, 32, 32), np.uint8), [0] * SMALL)
BAD_BATCHES = {
    "cut": GOOD[:len(GOOD) // 2],
    "empty": b"",
    "text": b"<html>not found</html>",
    "number": pickle.dumps(7, protocol=2),
    "list": pickle.dumps([1, 2], protocol=2),
    "few pictures": batch_with(data=np.zeros((SMALL - 1, 3072), np.uint8)),
    "one picture": batch_with(data=np.zeros((1, 3072), np.uint8)),
    "transposed": batch_with(data=np.zeros((3072, SMALL), np.uint8)),
    "floats": batch_with(data=np.zeros((SMALL, 3072), np.float32)),
    "no array": batch_with(data=[[0] * 3072] * SMALL),
    "no data": batch_with(data=None),
    "no labels": batch_with(labels=None),
    "label 10": batch_with(labels=[0] * (SMALL - 1) + [10]),
    "label -1": batch_with(labels=[0] * (SMALL - 1) + [-1]),
    "huge label": batch_with(labels=[0] * (SMALL - 1) + [1 << 70]),
    "fractional label": batch_with(labels=[0] * (SMALL - 1) + [1.5]),
    "one label": batch_with(labels=[0]),
    "many labels": batch_with(labels=[0] * (SMALL + 1)),
    "nested labels": batch_with(labels=[[0]] * SMALL),
    "no list of labels": batch_with(labels=0),
}


@pytest.mark.parametrize("bad", BAD_BATCHES)
def test_bad_batch_is_named(small, bad):
    folder = small[0]
    (folder / "data_batch_4").write_bytes(BAD_BATCHES[bad])
    with pytest.raises(UserError) as error:
        cifar10.load_cifar10(folder)
    assert str(folder / "data_batch_4") in one_line(error)


def test_good_batch_is_good(small):
    (small[0] / "data_batch_4").write_bytes(GOOD)  # so that each bad one above is bad for its own reason
    (small[0] / "data_batch_5").write_bytes(batch_with())
    (x_train, _), _ = cifar10.load_cifar10(small[0])
    assert not x_train[3 * SMALL:].any()


def test_missing_and_oversized_batch(small, monkeypatch):
    folder = small[0]
    with open(folder / "data_batch_3", "r+b") as file:
        file.truncate((64 << 20) + 1)  # sparse: takes no disk
    with pytest.raises(UserError, match="data_batch_3 .*64 MB"):
        cifar10.load_cifar10(folder)
    (folder / "data_batch_3").unlink()
    with pytest.raises(UserError, match="data_batch_3 "):
        cifar10.load_cifar10(folder.parent)


# The archive


@pytest.mark.parametrize("name", [ARCHIVE, "mine.tgz"])
def test_archive_is_unpacked(archive, tmp_path, name):
    content, images, labels = archive
    path = tmp_path / "data" / name
    path.write_bytes(content)
    assert_is(cifar10.load_cifar10(path, source=source_of(content)), images, labels)
    assert sorted(os.listdir(path.parent)) == sorted([FOLDER, name])
    path.write_bytes(b"")  # the folder is used from now on
    assert_is(cifar10.load_cifar10(path.parent, source=source_of(content)), images, labels)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:99] + b"x" + b[100:]])
def test_damaged_archive_is_not_opened(archive, tmp_path, monkeypatch, damage):
    content = archive[0]
    path = tmp_path / "data" / ARCHIVE
    path.write_bytes(damage(content))
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("opened an archive that is not the right one"))
    for data_dir in (path, path.parent):
        with pytest.raises(UserError, match="is not the CIFAR-10 archive") as error:
            cifar10.load_cifar10(data_dir, source=source_of(content))
        assert str(path) in one_line(error)
    assert os.listdir(path.parent) == [ARCHIVE]  # the user's file is the user's to remove


def test_named_archive_is_verified(small):
    path = small[0].parent / "mine.tgz"
    path.write_bytes(gzip.compress(b"another archive"))
    with pytest.raises(UserError, match="mine.tgz is not the CIFAR-10 archive"):
        cifar10.load_cifar10(path)


@pytest.mark.parametrize("name, kind", [
    ("../evil", tarfile.REGTYPE), (f"{FOLDER}/../../evil", tarfile.REGTYPE), ("OUTSIDE/evil", tarfile.REGTYPE),
    (f"{FOLDER}/data_batch_1", tarfile.SYMTYPE), (f"{FOLDER}/data_batch_1", tarfile.LNKTYPE), (FOLDER, tarfile.SYMTYPE),
    (f"{FOLDER}/test_batch", tarfile.FIFOTYPE)])
def test_hostile_members_stay_inside(small, tmp_path, name, kind):
    """Even if the SHA-256 were right, nothing is written or linked outside of the folder."""
    folder, images, labels = small
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "evil").write_bytes(b"as it was")
    member = tarfile.TarInfo(name.replace("OUTSIDE", str(outside)))
    member.type, member.linkname = kind, str(outside / "evil")
    content = make_archive(folder, (member, b""))
    shutil.rmtree(folder)
    (tmp_path / "data" / ARCHIVE).write_bytes(content)
    try:
        assert_is(cifar10.load_cifar10(tmp_path / "data", source=source_of(content)), images, labels)
    except UserError as error:
        assert f"{ARCHIVE} is damaged" in str(error)
    assert sorted(os.listdir(tmp_path)) == ["data", "outside"] and (outside / "evil").read_bytes() == b"as it was"
    assert set(os.listdir(tmp_path / "data")) <= {FOLDER, ARCHIVE}
    assert not any(path.is_symlink() for path in (tmp_path / "data").rglob("*"))


# The download


def cut(handler, content):
    answer(handler, content, end=len(content) // 2)


def stall(handler, content):
    cut(handler, content)
    handler.server.go.wait(20)


def silent(handler, content):
    handler.server.go.wait(20)


def reset(handler, content):
    cut(handler, content)
    time.sleep(0.2)  # let the client read what was sent: a reset discards it
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)
    os.close(handler.connection.detach())


def slam(handler, content):
    handler.connection.close()


def ignore_range(handler, content):
    answer(handler, content, ranges=False)


def page(handler, content):
    answer(handler, b"<html>Sign in to the network</html>", ranges=False)


def page_without_length(handler, content):
    answer(handler, b"<html>Sign in to the network</html>", ranges=False, length=-1)


def wrong_bytes(handler, content):
    answer(handler, content[:-1] + b"x")


def redirect(place):
    def behave(handler, content):
        if handler.path != f"/{ARCHIVE}":
            return answer(handler, content)
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


def status(code):
    return lambda handler, content: handler.send_error(code)


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Move the project's folder ``data``; return where the archive is downloaded to."""
    monkeypatch.setattr(cifar10, "ROOT", tmp_path)
    return tmp_path / "data" / ARCHIVE


@pytest.fixture
def part(target):
    return target.with_name(ARCHIVE + ".part")


def files(target) -> list[str]:
    return sorted(os.listdir(target.parent))


def test_first_use_downloads(server, archive, target, capsys):
    content, images, labels = archive
    assert_is(cifar10.load_cifar10(target.parent, source=server.source), images, labels)
    assert target.read_bytes() == content and server.ranges == [None]
    assert files(target) == [FOLDER, ARCHIVE]
    assert_is(cifar10.load_cifar10(target.parent, source=server.source), images, labels)
    assert len(server.ranges) == 1
    printed = capsys.readouterr()
    assert "an hour" in printed.err and "resume" in printed.err and "100%" in printed.err
    assert printed.out == ""


def test_data_by_another_path_is_the_same_folder(target, monkeypatch):
    target.parent.mkdir()
    monkeypatch.chdir(target.parent)
    assert cifar10.locate(".") == Path(ARCHIVE)


def test_data_folder_is_made(server, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "ROOT", tmp_path / "clone")
    assert_is(cifar10.load_cifar10(source=server.source), *archive[1:])
    assert (tmp_path / "clone" / "data" / ARCHIVE).exists()


@pytest.mark.parametrize("failure", [cut, reset, stall])
def test_interrupted_download_resumes(server, archive, target, part, failure):
    content, half = archive[0], len(archive[0]) // 2
    server.behave = failure
    started = time.monotonic()
    with pytest.raises(UserError, match="run this again to go on") as error:
        cifar10.download(target, server.source, timeout=0.5)
    assert time.monotonic() - started < 5
    assert server.source.url in one_line(error) and str(target) in str(error.value)
    assert files(target) == [part.name] and part.read_bytes() == content[:half]

    server.behave = answer
    cifar10.download(target, server.source)
    assert server.ranges == [None, f"bytes={half}-"]
    assert files(target) == [ARCHIVE] and target.read_bytes() == content


def test_server_that_ignores_ranges(server, archive, target, part):
    server.behave = ignore_range
    part.write_bytes(archive[0][:1000])
    cifar10.download(target, server.source)
    assert server.ranges == ["bytes=1000-"]
    assert files(target) == [ARCHIVE] and target.read_bytes() == archive[0]


def test_redirected_download(server, archive, target, part):
    server.behave = redirect("/elsewhere")
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(archive[0][:1000])
    cifar10.download(target, server.source)
    assert server.ranges == ["bytes=1000-"] * 2 and target.read_bytes() == archive[0]


@pytest.mark.parametrize("extra, requests", [(b"", []), (b"x", [None])])
def test_complete_or_long_part(server, archive, target, part, extra, requests):
    part.write_bytes(archive[0] + extra)
    cifar10.download(target, server.source)
    assert files(target) == [ARCHIVE] and target.read_bytes() == archive[0] and server.ranges == requests


@pytest.mark.parametrize("failure, reason", [
    (status(404), "404"), (status(503), "503"), (page, "35 bytes"), (page_without_length, "an unknown number of bytes"),
    (silent, "timed out"), (slam, "closed|reset"),
    (functools.partial(answer, length=10**6), "1,000,000 bytes"), (functools.partial(answer, length=7), "7 bytes"),
    (redirect(f"/{ARCHIVE}"), "redirect"), (redirect("file:///etc/hostname"), "not allowed"),
    (redirect("http://127.0.0.1:9/"), "refused")])
def test_failed_download_adds_nothing(server, archive, target, part, failure, reason):
    part.write_bytes(archive[0][:1000])
    server.behave = failure
    began = time.monotonic()
    with pytest.raises(UserError, match=reason) as error:
        cifar10.load_cifar10(target.parent, source=server.source) if failure is not silent else (
            cifar10.download(target, server.source, timeout=0.5))
    assert time.monotonic() - began < 5
    assert str(target) in one_line(error) and server.source.url in str(error.value)
    assert files(target) == [part.name] and part.read_bytes() == archive[0][:1000]


@pytest.mark.parametrize("prefix", [b"", b"what another program left here"])
def test_wrong_bytes_are_removed(server, archive, target, part, prefix):
    if prefix:
        part.write_bytes(prefix)
    else:
        server.behave = wrong_bytes
    with pytest.raises(UserError, match="removed.*SHA-256") as error:
        cifar10.load_cifar10(target.parent, source=server.source)
    assert str(target) in one_line(error)
    assert files(target) == []


def test_nobody_listens(target, archive):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        source = source_of(archive[0], f"http://127.0.0.1:{free.getsockname()[1]}/{ARCHIVE}")
        with pytest.raises(UserError, match="refused") as error:
            cifar10.download(target, source, timeout=2)
    assert str(target) in one_line(error) and files(target) == []


def start(target, source) -> subprocess.Popen:
    """Start another process that loads CIFAR-10 from the folder of ``target``."""
    code = (f"import pathlib; from colour.data import cifar10; cifar10.BATCH_LENGTH = {SMALL}\n"
            f"cifar10.ROOT = pathlib.Path({str(target.parent.parent)!r})\n"
            f"cifar10.load_cifar10(source=cifar10.Source(*{tuple(source)!r}))")
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_two_downloads_at_once(server, archive, target):
    asked = threading.Event()

    def wait_to_answer(handler, content):
        asked.set()
        server.go.wait(10)
        answer(handler, content)

    server.behave = wait_to_answer
    with start(target, server.source) as first:
        assert asked.wait(10)
        with start(target, server.source) as second:
            told = second.stderr.readline()
            server.go.set()
            assert first.wait(10) == 0 and second.wait(10) == 0
    assert "waiting" in told and server.ranges == [None]
    assert files(target) == [FOLDER, ARCHIVE]
    assert_is(cifar10.load_cifar10(target.parent), *archive[1:])


def test_killed_download_resumes(server, archive, target, part):
    server.behave, half = stall, len(archive[0]) // 2
    with start(target, server.source) as killed:
        deadline = time.monotonic() + 10
        while (not part.exists() or part.stat().st_size < half - 20_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
    kept = part.stat().st_size
    assert 0 < kept <= half
    server.behave = answer
    cifar10.download(target, server.source)
    assert server.ranges == [None, f"bytes={kept}-"] and target.read_bytes() == archive[0]


def test_two_processes_unpack_at_once(archive, target, monkeypatch):
    """The other process finishes its folder while we are still filling ours."""
    content, images, labels = archive
    target.write_bytes(content)
    original = Path.rename

    def rename(path, folder):
        shutil.copytree(path, folder)
        return original(path, folder)

    monkeypatch.setattr(Path, "rename", rename)
    assert_is(cifar10.load_cifar10(target, source=source_of(content)), images, labels)
    assert files(target) == [FOLDER, ARCHIVE]
