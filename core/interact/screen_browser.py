"""A `Screen` as a page in the browser, for machines without a display.

`PageServer` answers on the loopback interface only, and only below a path with a random token that is new
in every run, so no other user of the machine and no web page can look on or press keys. It serves whatever
routes it is given; `BrowserScreen` adds three: the page, the current image (a request waits until there is a
newer one) and the events. Tabs may be closed, opened again and be several at once; all see the same image and
all may press keys.
"""

from __future__ import annotations

import hmac
import html
import json
import queue
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np

from core.imageio import encode_image
from core.interact.screen import MOUSE_ACTIONS, Event, MouseEvent, as_bgr_u8, key_event, take_events

MAX_BODY = 1 << 20
WAIT_SECONDS = 20.0  # below the timeouts of browsers and of proxies that forward ports
JPEG_QUALITY = 92
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


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
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            return self._send(Reply(b"too large", status=413))
        body = self.rfile.read(int(length))
        parts = urlsplit(self.path)
        _, token, *rest = parts.path.split("/", 2)
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        # a foreign web page that points its own name at 127.0.0.1 still sends that name
        if host not in LOCAL_HOSTS or not hmac.compare_digest(
            token.encode(), self.server.page.token.encode()
        ):
            return self._send(Reply(b"wrong address: use the one that the program printed", status=403))
        route = self.server.page.routes.get(f"{method} /{rest[0] if rest else ''}")
        if route is None:
            return self._send(Reply(b"no such page", status=404))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            reply = route(query, body)
        except (ValueError, KeyError, TypeError) as err:
            reply = Reply(f"bad request: {err}".encode(), status=400)
        self._send(reply)

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
        self.title = title
        self._events: queue.Queue[Event] = queue.Queue()
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._version = 0
        self._image: np.ndarray | None = None
        self._caption = ""
        self._jpeg: tuple[int, bytes] = (0, b"")
        routes = {"GET /": self._page, "GET /image": self._next_image, "POST /events": self._receive}
        self._server = PageServer(routes, port=port)
        self.url, self.port = self._server.url, self._server.port

    def show(self, image: np.ndarray, caption: str = "") -> None:
        """Show `image`; it is encoded only when somebody looks."""
        with self._changed:
            self._image, self._caption = as_bgr_u8(image).copy(), caption
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
            "img-src blob:; connect-src 'self'; frame-ancestors 'none'"
        )
        page = PAGE.replace("{title}", html.escape(self.title)).replace("{nonce}", nonce)
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
        """Body: JSON list of `{"key", "shift"}` and `{"action", "x", "y", "wheel"}`."""
        events = [_event_from(message) for message in json.loads(body)]
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
    return MouseEvent(message["action"], int(message["x"]), int(message["y"]), wheel)


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style nonce="{nonce}">
body { margin: 0; background: #222; color: #ccc; font: 14px sans-serif; text-align: center }
img { max-width: 100vw; cursor: crosshair; user-select: none }
p { margin: 4px } .off { color: #f66 }
</style></head><body>
<p id="caption">waiting for the first picture</p><img id="image" alt="" draggable="false">
<script nonce="{nonce}">
"use strict";
const image = document.getElementById("image"), caption = document.getElementById("caption");
const names = {Enter: "enter", " ": "space", Escape: "escape", Tab: "tab", Backspace: "backspace",
  Delete: "delete", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
  Home: "home", End: "end", PageUp: "pageup", PageDown: "pagedown"};
let pending = [], sending = false;
async function send() {
  if (sending || !pending.length) return;
  sending = true;
  const batch = pending; pending = [];
  try { await fetch("events", {method: "POST", body: JSON.stringify(batch)}); } catch (error) { }
  sending = false;
  if (pending.length) setTimeout(send, 20);
}
function push(event) {
  const last = pending[pending.length - 1];
  if (event.action === "move" && last && last.action === "move") pending.pop();
  pending.push(event);
  send();
}
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = names[event.key] || (event.key.length === 1 ? event.key : null);
  if (!key) return;
  event.preventDefault();
  push({key: key, shift: event.shiftKey});
});
function mouse(action, event, wheel) {
  const box = image.getBoundingClientRect();
  if (!box.width || !image.naturalWidth) return;
  event.preventDefault();
  push({action: action, wheel: wheel || 0,
    x: Math.floor((event.clientX - box.left) * image.naturalWidth / box.width),
    y: Math.floor((event.clientY - box.top) * image.naturalHeight / box.height)});
}
const buttons = ["left", "middle", "right"];
image.addEventListener("mousemove", event => mouse("move", event));
function button(way) {
  return event => buttons[event.button] && mouse(buttons[event.button] + way, event);
}
image.addEventListener("mousedown", button("_down"));
image.addEventListener("mouseup", button("_up"));
image.addEventListener("contextmenu", event => event.preventDefault());
const wheel = event => mouse("wheel", event, -Math.sign(event.deltaY));
image.addEventListener("wheel", wheel, {passive: false});
const pause = ms => new Promise(done => setTimeout(done, ms));
async function follow() {
  let version = 0;
  for (;;) {
    try {
      const reply = await fetch("image?after=" + version);
      if (reply.status === 200) {
        const url = URL.createObjectURL(await reply.blob()), old = image.src;
        image.src = url;
        if (old) URL.revokeObjectURL(old);
        version = reply.headers.get("X-Version");
        caption.textContent = decodeURIComponent(reply.headers.get("X-Caption")) || document.title;
        caption.className = "";
      } else if (reply.status !== 204) { throw new Error(reply.status); }
    } catch (error) {
      caption.textContent = "the program does not answer; it may have ended";
      caption.className = "off";
      await pause(2000);
    }
  }
}
follow();
</script></body></html>
"""
