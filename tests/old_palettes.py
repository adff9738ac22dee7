"""Palettes as ``.npy`` files: plain ones, and the older form, a pair (centres, distortion) that Python 2 pickled."""

import pickle
import struct

import numpy as np

CENTRES = np.random.default_rng(1).random((24, 3))
HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"


def npy(header: bytes, body: bytes) -> bytes:
    header += b" " * (-(10 + len(header) + 1) % 16) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def string2(value: bytes) -> bytes:
    """Pickle a byte string as only Python 2 does."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def dtype2(kind: bytes, order: bytes = b"<") -> bytes:
    flags = b"K?" if kind == b"O8" else b"K\x00"
    return (b"cnumpy\ndtype\n(" + string2(kind) + b"K\x00K\x01tR(K\x03" + string2(order) + b"NNN"
            + b"J\xff\xff\xff\xff" * 2 + flags + b"tb")


def array2(shape: bytes, dtype: bytes, fortran: bool, data: bytes) -> bytes:
    return (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + string2(b"b") + b"tR(K\x01" + shape
            + dtype + (b"\x88" if fortran else b"\x89") + data + b"tb")


def pair2(centres: np.ndarray, fortran: bool = False, order: bytes = b"<") -> bytes:
    """Pickle ``np.array([centres, distortion], dtype=object)`` with the very opcodes of Python 2."""
    kind = centres.dtype.str[1:].encode()
    data = centres.astype(order.decode() + kind.decode()).tobytes(order="F" if fortran else "C")
    pixels = array2(b"K" + bytes([len(centres)]) + b"K\x03\x86", dtype2(kind, order), fortran, string2(data))
    distortion = b"cnumpy.core.multiarray\nscalar\n" + dtype2(b"f8") + string2(struct.pack("<d", 0.0728)) + b"\x86R"
    return (b"\x80\x02" + array2(b"K\x02\x85", dtype2(b"O8", b"|"), False, b"](" + pixels + distortion + b"e")
            + b".")


def saved_today(centres) -> bytes:
    pair = np.empty(2, object)
    pair[:] = centres, np.float64(0.0728)
    return b"\x93NUMPY\x01\x00v\x00" + HEADER.ljust(117) + b"\n" + pickle.dumps(pair)


def plain_npy(array) -> bytes:
    array = np.asarray(array)
    return npy(f"{{'descr': {array.dtype.str!r}, 'fortran_order': False, 'shape': {array.shape}, }}".encode(),
               array.tobytes())
