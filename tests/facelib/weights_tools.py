"""For tests of weights: small entries of the registry, and a server that can misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from core import safe_pickle
from facelib.weights.registry import WeightFile

SHAPES = {"conv/weight": (3, 3, 64, 128), "conv/bias": (128,), "norm/weight": (128,), "dense/weight": (1, 64)}


def random_tensors(entry: WeightFile, seed: int = 0, four_axes: bool = True) -> dict[str, np.ndarray]:
    """Tensors of the names and shapes of `entry` as DFL stores them."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in entry.shapes.items():
        stored = (1, 1, 1, *shape) if four_axes and len(shape) == 1 else shape
        tensors[f"{name}:0"] = rng.standard_normal(stored, np.float32).astype(entry.dtype)
    return tensors


def pickled(tensors: dict) -> bytes:
    return safe_pickle.dumps(tensors)


def entry_for(
    content: bytes, name: str = "Tiny", dtype: str = "float32", shapes: dict | None = None
) -> WeightFile:
    """A registry entry whose genuine file is `content`."""
    return WeightFile(
        name=name,
        purpose="tests",
        git_sha1=hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
        dtype=dtype,
        build_shapes=lambda: dict(shapes or SHAPES),
    )


def tiny() -> tuple[WeightFile, bytes]:
    """A small entry and its genuine file."""
    content = pickled(random_tensors(entry_for(b"")))
    return entry_for(content), content


Act = Callable[["Answer"], None]


class Answer(BaseHTTPRequestHandler):
    """Answers each request as the next of `server.acts` says, later ones as the last."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.start = int(asked[len("bytes=") :].rstrip("-")) if asked else 0
        self.server.log.append((self.path, self.start))
        acts = self.server.acts
        with contextlib.suppress(ConnectionError):
            (acts.pop(0) if len(acts) > 1 else acts[0])(self)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body_from(self, start: int, until: int | None = None) -> None:
        """The head for everything from `start`, and the bytes up to `until`; then the connection ends."""
        content = self.server.content
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.head(206, len(content) - start, Content_Range=span)
        else:
            self.head(200, len(content))
        self.wfile.write(content[start:until])
        self.wfile.flush()
        self.close_connection = True


def whole(answer: Answer) -> None:
    """As a good server does."""
    answer.body_from(answer.start)


def cut_at(position: int) -> Act:
    return lambda answer: answer.body_from(answer.start, position)


def ignores_range(position: int | None = None) -> Act:
    return lambda answer: answer.body_from(0, position)


def stalls_at(position: int, seconds: float = 5.0) -> Act:
    def act(answer: Answer) -> None:
        answer.body_from(answer.start, position)
        time.sleep(seconds)

    return act


def says_nothing(seconds: float = 5.0) -> Act:
    return lambda answer: time.sleep(seconds)


def trickles(answer: Answer) -> None:
    answer.body_from(answer.start, answer.start)
    for position in range(answer.start, len(answer.server.content)):
        answer.wfile.write(answer.server.content[position : position + 1])
        time.sleep(0.05)


def sends(content: bytes, length: int | None = -1, **headers: str) -> Act:
    def act(answer: Answer) -> None:
        answer.head(200, len(content) if length == -1 else length, **headers)
        answer.wfile.write(content)
        answer.close_connection = True

    return act


def chunked(answer: Answer) -> None:
    answer.head(200, None, Transfer_Encoding="chunked")
    content = answer.server.content
    for at in range(0, len(content), 50_000):
        block = content[at : at + 50_000]
        answer.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
    answer.wfile.write(b"0\r\n\r\n")


def status(code: int) -> Act:
    return lambda answer: answer.head(code, 0)


def leads_to(target: str) -> Act:
    return lambda answer: answer.head(302, 0, Location=target)


def closes(answer: Answer) -> None:
    answer.close_connection = True


@contextlib.contextmanager
def serving(content: bytes, *acts: Act) -> Iterator[ThreadingHTTPServer]:
    """A server on the loopback with `url`, and the `log` of paths and first bytes that were asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    server.content, server.acts, server.log = content, list(acts), []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def no_proxy(monkeypatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
