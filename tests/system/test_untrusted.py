"""Reading numpy's pickles safely: what comes back in every protocol, and attacks."""

import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from colour.system import untrusted
from colour.system.cli import UserError
from colour.system.files import ROOT
from colour.system.untrusted import load_numpy_pickle, load_torch, parsing
from tests.old_palettes import array2, dtype2


def unicode(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


FUNCTION = unicode("numpy._core.numeric") + unicode("_frombuffer") + b"\x93"
DTYPE = unicode("numpy") + unicode("dtype") + b"\x93" + unicode("u1") + b"\x89\x88\x87R"
SIX = b"C\x06abcdef"


def from_buffer(data=SIX, dtype=DTYPE, shape=b"K\x02K\x03\x86", order=b"\x8c\x01C", more=b"") -> bytes:
    return b"\x80\x05" + FUNCTION + b"(" + data + dtype + shape + order + more + b"tR."


@pytest.mark.parametrize("array", [
    np.arange(24).reshape(2, 3, 4), np.asfortranarray(np.arange(6.).reshape(2, 3)), np.arange(24)[::2], np.array(3),
    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1), np.zeros((0, 3)), np.array(["é", "ab"]), np.array([b"a"]),
    np.arange(3, dtype=">i4"), np.array([True, False]), np.array([1, "a", None, [2]], object)])
def test_arrays_come_back(array):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps({"a": [array, (array,)]}, protocol)
        expected = pickle.loads(content)["a"][0]  # in this machine's byte order, which numpy chooses before protocol 5
        for data in content, io.BytesIO(content):
            first, (second,) = load_numpy_pickle(data)["a"]
            for loaded in first, second:
                assert loaded.dtype == expected.dtype and loaded.shape == array.shape
                assert loaded.tolist() == array.tolist()


def test_opcodes_are_well_formed():
    expected = np.frombuffer(b"abcdef", np.uint8).reshape(2, 3)
    assert np.array_equal(pickle.loads(from_buffer()), expected)
    assert np.array_equal(load_numpy_pickle(from_buffer()), expected)


ATTACKS = {
    "a shape beyond the data": from_buffer(shape=b"K\x02J\xff\xff\xff\x7f\x86"),
    "a negative shape": from_buffer(shape=b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"),
    "a type that is none": from_buffer(dtype=unicode("u1")),
    "objects in a buffer": from_buffer(data=b"C\x08abcdefgh", dtype=DTYPE.replace(b"u1", b"O8"), shape=b"K\x01\x85"),
    "no data": from_buffer(data=b"N"),
    "data that is a list": from_buffer(data=b"]"),
    "an order that is none": from_buffer(order=unicode("X")),
    "axes that are none": from_buffer(order=unicode("K"), more=b"K\x07K\x08\x86"),
    "half a gigabyte": from_buffer(data=b"\x96" + struct.pack("<Q", 1 << 29) + b"abc"),
    "all memory": from_buffer(data=b"\x96" + b"\xff" * 7 + b"\x7fabc"),
    "more objects than listed": b"\x80\x02" + array2(b"J\0\0\0\4\x85", dtype2(b"O8", b"|"), False, b"]K\1a") + b".",
    "objects beside 100 MB": b"\x80\x02" + array2(b"K\1\x85", dtype2(b"O,V99999999", b"|"), False, b"](K\1K\2ta")
                             + b".",
    "a buffer from elsewhere": from_buffer(data=b"\x97"),
    "a state for the array": from_buffer()[:-1] + b"(K\x01K\x02tb.",
    "a function of numpy": b"\x80\x05" + unicode("numpy._core.numeric") + unicode("fromfile") + b"\x93" + unicode("x")
                           + b"\x85R.",
    "bytes of a size": b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(attack):
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="it is wrong .*: mend it"), parsing("it is wrong", "mend it"):
            load_numpy_pickle(ATTACKS[attack])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


SCRIPT = """if True:
    from colour.system import cli, untrusted

    @cli.command
    def main(argv):
        with untrusted.skipping_damage():
            [][1]
        with untrusted.parsing("it is wrong", "mend it"):
            {}["no such key"]

    main([])"""


def test_a_file_too_large_for_weights_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_TORCH_BYTES", 10)
    (tmp_path / "net.pkl").write_bytes(bytes(11))
    with pytest.raises(UserError, match="net.pkl is too large: it cannot hold weights"):
        load_torch(tmp_path / "net.pkl", "weights")


def test_two_records_of_one_name_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / "net.pkl")
    with zipfile.ZipFile(tmp_path / "net.pkl", "a") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data/0"))
        archive.writestr(name.upper(), archive.read(name))
    with pytest.raises(UserError, match="two records have one name"):
        load_torch(tmp_path / "net.pkl", "weights")


def test_what_is_said_already_is_said_once():
    with pytest.raises(UserError) as error, parsing("it is wrong", "mend it"):
        raise UserError("it is too large")
    assert str(error.value) == "it is too large"


@pytest.mark.parametrize("traceback", ["", "1"])
def test_tracebacks_on_demand(traceback):
    """One line for users; what a parser, or a bug of ours, raised for those who look for it."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "COLOUR_TRACEBACK": traceback})
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and lines.pop() == "error: it is wrong ('no such key'): mend it"
    if traceback:
        assert "IndexError: list index out of range" in lines and "KeyError: 'no such key'" in lines
    else:
        assert not lines


@pytest.mark.parametrize("claimed, raised", [(8, RuntimeError), (1 << 40, UserError)])
def test_too_little_memory_is_no_damage(claimed, raised, tmp_path, monkeypatch):
    """Unless it is for more than the file holds."""
    torch = pytest.importorskip("torch")

    def fail(*_, **__):
        raise RuntimeError(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {claimed} bytes.")

    torch.save({}, tmp_path / "net.pkl")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(raised):
        load_torch(tmp_path / "net.pkl", "weights")


def test_a_file_of_countless_objects(tmp_path):
    """PyTorch would read it for minutes."""
    with zipfile.ZipFile(tmp_path / "net.pkl", "w") as archive:
        archive.writestr("net/data.pkl", bytes(9 << 20))
    with pytest.raises(UserError, match="too many objects"):
        load_torch(tmp_path / "net.pkl", "weights")
