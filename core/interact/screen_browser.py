"""A `Screen` as a page in the browser, for machines without a display.

`PageServer` answers on the loopback interface only, and only below a path with a token. The token is for one
run: 192 random bits, made when the server starts and worthless when it ends, compared in constant time, never
logged, and kept out of `Referer` by a header. So no other user of the machine and no web page can look on or
press keys. Within the run it opens the page as often as wanted: tabs may be closed, opened again and be
several at once; all see the same image and all may press keys. The port in the `Host` header is free, since a
tunnel (`ssh -L 9000:127.0.0.1:<port>`) changes it; its name must be this machine's, which keeps pages out
that point a name of their own at the loopback.

The server has whatever routes it is given; `BrowserScreen` adds three: the page (`screen_page.html`), the
current image (a request waits until there is a newer one) and the events.
"""

from __future__ import annotations

import hmac
import html
import json
import queue
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote

import numpy as np

from core.imageio import encode_image
from core.interact.screen import (
    MOUSE_ACTIONS,
    Event,
    MouseEvent,
    as_bgr_u8,
    as_sendable,
    key_event,
    take_events,
)

MAX_BODY = 1 << 20
WAIT_SECONDS = 20.0  # below the timeouts of browsers and of proxies that forward ports
JPEG_QUALITY = 92
MAX_VIEWERS = 256  # whose last event is remembered
MAX_COORDINATE = 1 << 16
PAGE = Path(__file__).with_name("screen_page.html")
_LOCAL_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Reply:
    """What a route answers."""

    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[[dict[str, str], bytes], Reply]  # (query, body) -> reply


class PageServer:
    """Serves `routes` ("GET /name" -> function) at `url`, below a random token, until `close`."""

    def __init__(self, routes: dict[str, Route], host: str = "127.0.0.1", port: int = 0) -> None:
        self.routes = routes
        self.token = secrets.token_urlsafe(24)
        self._http = _Http((host, port), self)
        self.port = self._http.server_address[1]
        self.url = f"http://{host}:{self.port}/{self.token}/"
        threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], page: PageServer) -> None:
        self.page = page
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A viewer that goes away in mid-answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "screen"
    sys_version = ""
    timeout = 3 * WAIT_SECONDS

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, format: str, *args: object) -> None:
        """The terminal belongs to the program's own lines."""

    def _answer(self, method: str) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return self._send(Reply(b"too large", status=413))
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the connection was cut
            self.close_connection = True
            return None
        path, _, query = self.path.partition("?")
        _, _, rest = path.partition("/")
        token, _, name = rest.partition("/")
        # a foreign web page that points its own name at 127.0.0.1 still sends that name
        is_local = _LOCAL_HOST.fullmatch(self.headers.get("Host", ""))
        if not is_local or not hmac.compare_digest(token.encode(), self.server.page.token.encode()):
            return self._send(Reply(b"wrong address: use the one that the program printed", status=403))
        route = self.server.page.routes.get(f"{method} /{name}")
        if route is None:
            return self._send(Reply(b"no such page", status=404))
        try:
            reply = route({key: values[-1] for key, values in parse_qs(query).items()}, body)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as err:
            reply = Reply(f"bad request: {err}".encode(), status=400)
        return self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)


class BrowserScreen:
    """A page with the current image; see `core.interact.screen.Screen`. `url` is where it is."""

    kind = "browser"

    def __init__(self, title: str, port: int = 0) -> None:
        self.closed = False
        self.title = as_sendable(title)
        self._events: queue.Queue[Event] = queue.Queue()
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._version = 0
        self._image: np.ndarray | None = None
        self._caption = ""
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._receiving = threading.Lock()
        self._last_numbers: OrderedDict[str, int] = OrderedDict()  # of each viewer's events
        routes = {"GET /": self._page, "GET /image": self._next_image, "POST /events": self._receive}
        self._server = PageServer(routes, port=port)
        self.url, self.port = self._server.url, self._server.port

    def show(self, image: np.ndarray, caption: str = "") -> None:
        """Show `image`; it is encoded only when somebody looks."""
        with self._changed:
            self._image, self._caption = as_bgr_u8(image).copy(), as_sendable(caption)
            self._version += 1
            self._changed.notify_all()

    def events(self, timeout: float = 0.0) -> list[Event]:
        """Events of all viewers since the last call; consecutive mouse moves come as one."""
        return take_events(self._events, timeout)

    def close(self) -> None:
        """Stop answering; open pages say that the program has ended."""
        with self._changed:
            if self.closed:
                return
            self.closed = True
            self._changed.notify_all()
        self._server.close()

    def _page(self, query: dict[str, str], body: bytes) -> Reply:
        nonce = secrets.token_urlsafe(12)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "img-src blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        page = (
            PAGE.read_text(encoding="utf-8")
            .replace("{title}", html.escape(self.title))
            .replace("{nonce}", nonce)
        )
        return Reply(page.encode(), "text/html; charset=utf-8", headers={"Content-Security-Policy": policy})

    def _next_image(self, query: dict[str, str], body: bytes) -> Reply:
        after = int(query.get("after", "0"))
        with self._changed:
            # a page of an earlier run may know a higher version than we do: it gets ours
            self._changed.wait_for(lambda: self._version not in (0, after) or self.closed, WAIT_SECONDS)
            version, image, caption = self._version, self._image, self._caption
        if self.closed:  # the connection would outlive the server
            return Reply(b"ended", status=410, headers={"Connection": "close"})
        if image is None or version == after:
            return Reply(status=204)
        with self._encoding:
            if self._jpeg[0] != version:
                self._jpeg = (version, encode_image(".jpg", image, JPEG_QUALITY))
            jpeg = self._jpeg[1]
        return Reply(jpeg, "image/jpeg", headers={"X-Version": str(version), "X-Caption": quote(caption)})

    def _receive(self, query: dict[str, str], body: bytes) -> Reply:
        """Take events over, each once: a page that got no answer sends them again.

        Query: `viewer`, a name that a page gave itself, and `first`, the number of its first event here.
        Body: JSON list of `{"key", "shift"}` and `{"action", "x", "y", "wheel"}`.
        """
        events = [_event_from(message) for message in json.loads(body)]
        viewer, first = query.get("viewer", ""), int(query.get("first", "0"))
        with self._receiving:
            if viewer:
                last = self._last_numbers.pop(viewer, 0)
                self._last_numbers[viewer] = max(last, first + len(events) - 1)
                if len(self._last_numbers) > MAX_VIEWERS:
                    self._last_numbers.popitem(last=False)
                events = events[max(0, last + 1 - first) :]
            for event in events:
                if event is not None:
                    self._events.put(event)
        return Reply(status=204)


def _event_from(message: dict) -> Event | None:
    if "key" in message:
        return key_event(str(message["key"]), bool(message.get("shift", False)))
    if message["action"] not in MOUSE_ACTIONS:
        raise ValueError(f"unknown action {message['action']!r}")
    wheel = int(np.sign(message.get("wheel", 0)))
    x, y = (max(0, min(MAX_COORDINATE, int(message[axis]))) for axis in "xy")
    return MouseEvent(message["action"], x, y, wheel)
