"""Reading numpy's pickles safely: what protocol 5 brings, and attacks on it."""

import io
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from colour.system.untrusted import load_numpy_pickle


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
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back(array, protocol):
    for given in array, {"a": [array, (array,)]}:
        content = pickle.dumps(given, protocol)
        for data in content, io.BytesIO(content):
            loaded = load_numpy_pickle(data)
            expected = pickle.loads(content)  # in the byte order of this machine, which numpy chooses before protocol 5
            loaded, expected = (loaded, expected) if given is array else (loaded["a"][1][0], expected["a"][1][0])
            assert loaded.dtype == expected.dtype and loaded.shape == array.shape and loaded.tolist() == array.tolist()


def test_the_opcodes_below_are_well_formed():
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
    "an array of terabytes": from_buffer(data=b"\x96" + struct.pack("<Q", 1 << 42) + b"abc"),
    "an array of all memory": from_buffer(data=b"\x96" + b"\xff" * 7 + b"\x7fabc"),
    "a buffer from elsewhere": from_buffer(data=b"\x97"),
    "a state for the array": from_buffer()[:-1] + b"(K\x01K\x02tb.",
    "a function of numpy": b"\x80\x05" + unicode("numpy._core.numeric") + unicode("fromfile") + b"\x93" + unicode("x")
                           + b"\x85R.",
    "bytes of a size": b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", [bytes, io.BytesIO, open])
def test_attacks_are_refused(attack, kind, tmp_path):
    (tmp_path / "file").write_bytes(ATTACKS[attack])
    tracemalloc.start()
    try:
        with open(tmp_path / "file", "rb") as file, pytest.raises(pickle.UnpicklingError):
            load_numpy_pickle(file if kind is open else kind(ATTACKS[attack]))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
