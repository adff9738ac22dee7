"""Small data sets in the format of CIFAR-10 and ImageNet32, an archive of them, and a server on this machine."""

import hashlib
import io
import pickle
import struct
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from colour.data.cifar10 import ARCHIVE, FOLDER, Source

NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
SMALL = 20  # pictures in a batch, where not 10,000 are needed


def pickle2(images: np.ndarray, labels: list[int]) -> bytes:
    """Pickle as Python 2 did in protocol 2: byte strings as 'U' and 'T', which Python 3 never writes."""
    def text(value):
        return b"U" + bytes([len(value)]) + value

    pixels = images.tobytes()
    dtype = (b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN"
             + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb")
    array = (b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + text(b"b")
             + b"\x87R(K\x01" + b"J" + struct.pack("<i", len(images)) + b"M\x00\x0c\x86" + dtype
             + b"\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb")
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (b"\x80\x02}(" + text(b"batch_label") + text(b"a batch") + text(b"labels") + numbers
            + text(b"data") + array + b"u.")


def make_batches(folder: Path, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Write the six files; return all pictures (6 * length, 3, 32, 32) and labels, the test batch last."""
    rng = np.random.default_rng(0)
    images = np.frombuffer(rng.bytes(6 * length * 3072), np.uint8).reshape(-1, 3, 32, 32)
    labels = rng.integers(0, 10, 6 * length)
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        part = slice(i * length, (i + 1) * length)
        (folder / name).write_bytes(pickle2(images[part], labels[part].tolist()))
    return images, labels


def assert_is(loaded, images, labels):
    (x_train, y_train), (x_test, y_test) = loaded
    assert np.array_equal(x_train, images[:-SMALL]) and np.array_equal(y_train, labels[:-SMALL])
    assert np.array_equal(x_test, images[-SMALL:]) and np.array_equal(y_test, labels[-SMALL:])


def imagenet_batch(**changes) -> bytes:
    return pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2, 3], **changes}, protocol=3)


def make_archive(folder: Path, *extra: tuple[tarfile.TarInfo, bytes], without=()) -> bytes:
    """Pack the folder as CIFAR-10's is packed, with further members first."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as tar:
        for member, content in extra:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        tar.add(folder, FOLDER, filter=lambda info: None if Path(info.name).name in without else info)
    return stream.getvalue()


def source_of(content: bytes, url="http://127.0.0.1:9/none") -> Source:
    return Source(url, len(content), hashlib.sha256(content).hexdigest())


# A server


class Server(ThreadingHTTPServer):
    """Serves ``content`` under any path, as ``behave`` says; collects the Range headers in ``ranges``."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, content):
        self.content, self.behave, self.ranges, self.go = content, answer, [], threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        self.source = source_of(content, f"http://127.0.0.1:{self.server_port}/{ARCHIVE}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        self.server.behave(self, self.server.content)

    def log_message(self, *_):
        pass


def answer(handler, content, *, ranges=True, end=None, length=None):
    """Answer correctly, or ignore ranges, stop sending at byte ``end``, send another length (-1 for none)."""
    start = int(handler.headers["Range"][6:-1]) if ranges and "Range" in handler.headers else 0
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if length != -1:
        handler.send_header("Content-Length", str(length or len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:end])
