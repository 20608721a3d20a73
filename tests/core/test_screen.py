"""The screen's two transports, and what is chosen where."""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from core.errors import UsageError
from core.imageio import decode_image
from core.interact import screen as screens
from core.interact.screen import ClosedEvent, KeyEvent, MouseEvent, key_event, merge_moves, open_screen
from core.interact.screen_browser import BrowserScreen


@pytest.fixture
def page():
    screen = BrowserScreen("Training <preview>")
    yield screen
    screen.close()


def get(url: str, **headers: str):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)


def post(page: BrowserScreen, body: bytes) -> int:
    request = urllib.request.Request(page.url + "events", data=body, method="POST")
    return urllib.request.urlopen(request, timeout=10).status


def picture(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


def test_the_page_escapes_its_title_and_loads_nothing_from_elsewhere(page):
    reply = get(page.url)
    text = reply.read().decode()
    assert "Training &lt;preview&gt;" in text
    assert "http://" not in text and "https://" not in text
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert page.url.startswith("http://127.0.0.1:")


def test_every_viewer_gets_the_newest_image_and_its_caption(page):
    page.show(picture(10), "first")
    page.show(picture(200), "zweite é")
    for _ in range(2):  # two viewers, or one whose tab was closed and opened again
        reply = get(page.url + "image?after=0")
        image = decode_image(reply.read(), "page")
        assert image.shape == (48, 64, 3) and abs(int(image[5, 5, 1]) - 200) < 4
        assert urllib.request.unquote(reply.headers["X-Caption"]) == "zweite é"


def test_names_that_are_no_text_are_shown_all_the_same():
    """A frame's file may be called anything: os.fsdecode(b"bad\\xff.png")."""
    screen = BrowserScreen("frames of bad\udcff")
    screen.show(picture(10), "bad\udcff.png")
    assert "frames of bad?" in get(screen.url).read().decode()
    assert urllib.request.unquote(get(screen.url + "image?after=0").headers["X-Caption"]) == "bad?.png"
    screen.close()


def test_a_viewer_waits_for_the_next_image(page):
    page.show(picture(10))
    version = get(page.url + "image?after=0").headers["X-Version"]
    threading.Timer(0.3, page.show, [picture(90)]).start()
    started = time.monotonic()
    image = decode_image(get(f"{page.url}image?after={version}").read(), "page")
    assert 0.2 < time.monotonic() - started < 5
    assert abs(int(image[0, 0, 0]) - 90) < 4


def test_closing_wakes_waiting_viewers(page):
    threading.Timer(0.2, page.close).start()
    with pytest.raises(urllib.error.HTTPError) as err:
        get(page.url + "image?after=0")
    assert err.value.code == 410


def test_keys_and_mouse_arrive_as_events(page):
    body = [
        {"key": "A", "shift": True},
        {"key": "enter"},
        {"action": "move", "x": 1, "y": 2},
        {"action": "move", "x": 3, "y": 4.0},
        {"action": "wheel", "x": 3, "y": 4, "wheel": -120},
    ]
    assert post(page, json.dumps(body).encode()) == 204
    assert page.events(timeout=2) == [
        KeyEvent("a", True),
        KeyEvent("enter"),
        MouseEvent("move", 3, 4),
        MouseEvent("wheel", 3, 4, -1),
    ]
    assert page.events() == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"7", b"[3]", b"\xff", b'["key"]', b"[[]]", b"[" * 100_000),
        b'[{"action": "explode", "x": 1, "y": 2}]',
        b'[{"action": "move", "x": Infinity, "y": NaN}]',
        b'[{"action": "move", "x": 1}]',
    ],
)
def test_damaged_events_are_refused(page, body):
    with pytest.raises(urllib.error.HTTPError) as err:
        post(page, body)
    assert err.value.code == 400
    assert page.events() == []


def test_only_the_token_opens_the_page(page):
    base = f"http://127.0.0.1:{page.port}/"
    for url in (base, base + "image", base + "x" * 32 + "/image", base + "%C3%A9/"):
        with pytest.raises(urllib.error.HTTPError) as err:
            get(url)
        assert err.value.code == 403
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "10.0.0.1:80",
        "",
        "[::1",
    ):
        with pytest.raises(urllib.error.HTTPError) as err:
            get(page.url, Host=host)  # a name that somebody points here
        assert err.value.code == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:9000", "localhost", "[::1]", "[::1]:9000"])
def test_tunnels_may_have_another_port(page, host):
    assert get(page.url, Host=host).status == 200


def test_a_token_is_of_one_run_and_told_to_nobody(page):
    other = BrowserScreen("other")
    try:
        assert other._server.token != page._server.token
        assert len(page._server.token) >= 32
        with pytest.raises(urllib.error.HTTPError):
            get(page.url.replace(page._server.token, other._server.token))
    finally:
        other.close()
    assert get(page.url).headers["Referrer-Policy"] == "no-referrer"
    assert get(page.url).headers["Cache-Control"] == "no-store"


def test_only_this_machine_can_connect(page):
    assert page._server._http.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "request_text",
    [
        "GET nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xb2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        "BREW / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02 TLS here?\r\n\r\n",
    ],
)
def test_strange_requests_are_refused_and_the_page_stays(page, request_text):
    with socket.create_connection(("127.0.0.1", page.port), timeout=5) as connection:
        connection.sendall(request_text.encode("latin-1"))
        assert page._server.token.encode() not in connection.recv(4096)
    assert get(page.url).status == 200


def test_events_that_come_twice_count_once(page):
    def send(first: int, keys: str, viewer: str = "one") -> None:
        body = json.dumps([{"key": key} for key in keys]).encode()
        request = urllib.request.Request(
            f"{page.url}events?viewer={viewer}&first={first}", body, method="POST"
        )
        assert urllib.request.urlopen(request, timeout=10).status == 204

    send(1, "ab")
    send(1, "ab")  # the answer was lost
    send(2, "bc")
    send(9, "d")  # some were dropped
    send(1, "e", viewer="other")
    assert "".join(event.key for event in page.events(timeout=2)) == "abcde"


def test_too_long_bodies_are_not_read(page):
    request = urllib.request.Request(
        page.url + "events", data=b"[]", headers={"Content-Length": str(1 << 30)}
    )
    with pytest.raises(urllib.error.HTTPError) as err:
        urllib.request.urlopen(request, timeout=5)
    assert err.value.code == 413


@pytest.mark.parametrize(
    "typed, event",
    [
        ("q", KeyEvent("q")),
        ("Q", KeyEvent("q", True)),
        ("<", KeyEvent(",", True)),
        ("?", KeyEvent("/", True)),
        (":", KeyEvent(";", True)),
        ("`", KeyEvent("`")),
        (" ", KeyEvent("space")),
        ("escape", KeyEvent("escape")),
        ("F5", None),
        ("\x00", None),
    ],
)
def test_keys_have_one_name_in_both_transports(typed, event):
    assert key_event(typed) == event


def test_only_runs_of_moves_are_merged():
    move, down = MouseEvent("move", 1, 1), MouseEvent("left_down", 1, 1)
    assert merge_moves([move, MouseEvent("move", 2, 2), down, move]) == [MouseEvent("move", 2, 2), down, move]


def test_display_is_looked_for_before_a_window_is_opened():
    assert screens.has_display({}, "win32") and screens.has_display({}, "darwin")
    assert not screens.has_display({}, "linux")
    assert screens.has_display({"DISPLAY": ":0"}, "linux")


def test_without_a_display_auto_is_no_screen_or_the_browser(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform in ("win32", "darwin"):
        pytest.skip("there is always a display here")
    said: list[str] = []
    assert open_screen("auto", say=said.append).kind == "none"
    assert "_preview.jpg" in said[0] and "--screen browser" in said[0]
    with open_screen_closing("auto", needed=True, say=said.append) as screen:
        assert screen.kind == "browser" and screen.url in said[-1]
    with pytest.raises(UsageError, match="--screen browser"):
        open_screen("window")
    with pytest.raises(UsageError, match="auto, window"):
        open_screen("television")


def test_a_display_that_does_not_answer_ends_the_window_not_the_program(monkeypatch):
    if sys.platform in ("win32", "darwin"):
        pytest.skip("no X11 here")
    monkeypatch.setenv("DISPLAY", ":987")
    said: list[str] = []
    assert open_screen("auto", say=said.append).kind == "none"
    assert "No window" in said[0]


class open_screen_closing:
    """`open_screen` as a context manager."""

    def __init__(self, *args, **kwargs):
        self.screen = open_screen(*args, **kwargs)

    def __enter__(self):
        return self.screen

    def __exit__(self, *_):
        self.screen.close()


@pytest.fixture
def display(monkeypatch):
    """An invisible X server."""
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed; the window cannot be tried")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    with open(read, closefd=True) as pipe:
        os.close(write)
        number = pipe.readline().strip()
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield server
    server.terminate()
    server.wait()


def wait_for(screen, kind, seconds=15):
    end = time.monotonic() + seconds
    found = []
    while time.monotonic() < end:
        found += screen.events(timeout=0.2)
        if any(isinstance(event, kind) for event in found):
            return found
    raise AssertionError(f"no {kind.__name__} in {seconds} s, only {found}")


def test_a_window_shows_images_takes_keys_and_may_lose_its_display(display):
    screen = open_screen("window", "Preview")
    assert screen.kind == "window" and not screen.closed
    for value in range(0, 250, 50):
        screen.show(np.full((200, 300, 3), value, np.uint8), f"value {value}")
    if shutil.which("xdotool"):
        window = ""
        for _ in range(50):
            found = subprocess.run(
                ["xdotool", "search", "--name", "Preview"], capture_output=True, text=True, check=False
            ).stdout.split()
            if found:
                window = found[-1]
                break
            time.sleep(0.1)
        subprocess.run(["xdotool", "windowfocus", "--sync", window], check=False, timeout=10)
        for typed, expected in (("Return", "enter"), ("s", "s"), ("space", "space"), ("Left", "left")):
            subprocess.run(["xdotool", "key", typed], check=True, timeout=10)
            keys = [event.key for event in wait_for(screen, KeyEvent) if isinstance(event, KeyEvent)]
            assert keys == [expected]
        subprocess.run(["xdotool", "keydown", "shift", "key", "l"], check=True, timeout=10)
        keys = wait_for(screen, KeyEvent)
        subprocess.run(["xdotool", "keyup", "shift"], check=True, timeout=10)
        if ctypes.util.find_library("X11"):
            assert KeyEvent("l", True) in keys
        subprocess.run(["xdotool", "mousemove", "--window", window, "10", "12"], check=True, timeout=10)
        assert MouseEvent("move", 10, 12) in wait_for(screen, MouseEvent)
        subprocess.run(["xdotool", "click", "1"], check=True, timeout=10)
        assert MouseEvent("left_down", 10, 12) in wait_for(screen, MouseEvent)
    display.kill()
    assert ClosedEvent() in wait_for(screen, ClosedEvent)
    assert screen.closed
    screen.show(picture(0))
    screen.close()


def test_a_window_outlives_a_name_that_is_no_text(display):
    if not shutil.which("xdotool"):
        pytest.skip("xdotool is not installed; the window's title cannot be read")
    screen = open_screen("window", "Preview")
    screen.show(picture(0), "bad\udcff.png")
    for _ in range(100):
        found = subprocess.run(["xdotool", "search", "--name", "bad"], capture_output=True, check=False)
        if found.stdout.split():
            break
        time.sleep(0.1)
    screen.close()
    assert found.stdout.split()


def test_closing_a_window_ends_its_process(display):
    screen = open_screen("window", "Preview")
    child = screen._child
    screen.close()
    screen.close()
    assert child.poll() is not None
    assert Path(screens.__file__).is_file()
