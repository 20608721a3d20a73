"""A headless Chromium for tests, driven through its WebDriver: tabs, keys, mouse and wheel; and a tunnel."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from typing import Any

import pytest

KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "ArrowLeft": "\ue012", "Shift": "\ue008", "Control": "\ue009"}
BUTTONS = {"left": 0, "middle": 1, "right": 2}
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,800")


class Chromium:
    """One browser; everything is done in the tab chosen last."""

    def __init__(self) -> None:
        for program in ("chromedriver", "chromium"):
            if not shutil.which(program):
                pytest.skip(f"{program} is not installed; the page cannot be tried in a browser")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", "--silent"], stdout=subprocess.DEVNULL
        )
        wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "driver")
        self._base = f"http://127.0.0.1:{port}/session"
        options = {"goog:chromeOptions": {"args": ARGUMENTS}, "goog:loggingPrefs": {"browser": "ALL"}}
        self._base += "/" + self._call("POST", "", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        self.first = self.tab()

    def close(self) -> None:
        self._call("DELETE", "")
        self._driver.terminate()
        self._driver.wait()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def new_tab(self, kind: str = "tab") -> str:
        """Open a tab (or `window`) and choose it."""
        handle = self._call("POST", "/window/new", {"type": kind})["handle"]
        self.choose(handle)
        return handle

    def tab(self) -> str:
        return self._call("GET", "/window")

    def tabs(self) -> list[str]:
        return self._call("GET", "/window/handles")

    def screenshot(self) -> bytes:
        """The tab as it is seen, a PNG."""
        return base64.b64decode(self._call("GET", "/screenshot"))

    def choose(self, handle: str) -> None:
        self._call("POST", "/window", {"handle": handle})

    def close_tab(self) -> None:
        self._call("DELETE", "/window")

    def resize(self, width: int, height: int) -> None:
        self._call("POST", "/window/rect", {"width": width, "height": height})

    def run(self, script: str) -> Any:
        """What a piece of JavaScript returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script: str, wanted: Any, seconds: float = 15) -> None:
        """Until JavaScript's `script` is `wanted`."""
        wait_until(lambda: self.run(f"return {script}") == wanted, f"{script} == {wanted!r}", seconds)

    def log(self) -> list[str]:
        """What the console has printed since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def _act(self, kind: str, *actions: dict[str, Any]) -> None:
        source = {"type": kind, "id": kind, "actions": actions}
        self._call("POST", "/actions", {"actions": [source]})

    def key(self, *names: str) -> None:
        """Press keys one upon the other and release them: `key("Shift", "a")`."""
        values = [KEYS.get(name, name) for name in names]
        downs = [{"type": "keyDown", "value": value} for value in values]
        self._act("key", *downs, *({"type": "keyUp", "value": value} for value in reversed(values)))

    def move(self, x: float, y: float) -> None:
        self._act("pointer", {"type": "pointerMove", "x": round(x), "y": round(y)})

    def press(self, button: str = "left") -> None:
        self._act("pointer", {"type": "pointerDown", "button": BUTTONS[button]})

    def release(self, button: str = "left") -> None:
        self._act("pointer", {"type": "pointerUp", "button": BUTTONS[button]})

    def wheel(self, x: float, y: float, delta: int) -> None:
        self._act("wheel", {"type": "scroll", "x": round(x), "y": round(y), "deltaX": 0, "deltaY": delta})


def wait_until(condition: Any, what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


class Tunnel:
    """Forwards connections from a port of its own, as `ssh -L` does, until it is cut."""

    def __init__(self, target: int) -> None:
        self._target, self._pairs = target, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.is_cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def cut(self) -> None:
        """Break all connections; new ones are closed at once."""
        self.is_cut = True
        while self._pairs:
            for end in self._pairs.pop():
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()
