"""Manual extraction with a real mouse: a window under Xvfb moved by xdotool, a page in headless Chromium."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest

from core.interact.screen import open_screen
from facelib.mean_face import place_mean_face
from mainscripts.extract_manual import run_manual
from tests.chromium import Chromium

SCALE = 640 / 1280  # of the view; the frames are 1280 x 720
CHROMIUM_KEYS = {"enter": "Enter", "space": " "}
XDOTOOL_KEYS = {"enter": "Return", "space": "space", ",": "comma", ".": "period", "escape": "Escape"}


class Frame:
    def __init__(self, name):
        self.name = name

    def read(self):
        return np.full((720, 1280, 3), 100, np.uint8)


class MeanFace:
    def points(self, image, rect, *, second_pass=False):
        left, top, right, bottom = rect
        return place_mean_face(((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, 0.0))


class Run(threading.Thread):
    """A manual extraction on a screen, with its results as they come."""

    def __init__(self, screen, count=6):
        super().__init__(daemon=True)
        self.screen, self.results, self.shown = screen, [], []
        show = screen.show
        screen.show = lambda image, caption="": (self.shown.append(caption), show(image, caption))
        self.frames = [Frame(f"{number}.png") for number in range(count)]
        self.start()

    def run(self):
        for result in run_manual(self.frames, self.screen, MeanFace(), 640):
            self.results.append(result)

    def wait(self, condition, what, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"no {what}; last {self.shown[-1:]}, {self.results}"
            time.sleep(0.02)

    def caption(self, *words, seconds=30):
        self.wait(lambda: self.shown and all(w in self.shown[-1] for w in words), f"caption {words}", seconds)

    def answers(self, action, *words):
        """Do something until the caption answers: windows may lose a key on a busy machine."""
        for _ in range(3):
            action()
            with contextlib.suppress(AssertionError):
                return self.caption(*words, seconds=8)
        raise AssertionError(f"no caption {words}, but {self.shown[-1:]}")


class XMouse:
    """The mouse and keys of an X server, over one window."""

    def __init__(self, title):
        end = time.monotonic() + 20
        while not (found := self._do("search", "--name", title).split()):
            assert time.monotonic() < end, "the window did not come"
            time.sleep(0.1)
        self.window = found[-1]
        self._do("windowfocus", "--sync", self.window)
        time.sleep(0.5)

    def _do(self, *words):
        return subprocess.run(
            ["xdotool", *words], capture_output=True, text=True, check=False, timeout=20
        ).stdout

    def move(self, x, y):
        self._do("mousemove", "--window", self.window, str(x), str(y))

    def click(self, button):
        self._do("click", {"left": "1", "right": "3"}[button])

    def wheel(self, notches):
        self._do("click", "--repeat", str(abs(notches)), "--delay", "20", "4" if notches > 0 else "5")

    def key(self, name):
        self._do("key", XDOTOOL_KEYS.get(name, name))


class PageMouse:
    """The mouse and keys of a headless Chromium, over the page's image."""

    def __init__(self, browser):
        self.browser, self.place = browser, (0, 0)

    def image_ready(self):
        return self.browser.run("return document.getElementById('image').naturalWidth") > 0

    def move(self, x, y):
        left, top = self.browser.run(
            "const r = document.getElementById('image').getBoundingClientRect(); return [r.left, r.top]"
        )
        self.place = (left + x, top + y)
        self.browser.move(*self.place)

    def click(self, button):
        self.browser.press(button)
        self.browser.release(button)

    def wheel(self, notches):
        for _ in range(abs(notches)):
            self.browser.wheel(*self.place, -100 if notches > 0 else 100)

    def key(self, name):
        self.browser.key(CHROMIUM_KEYS.get(name, name))


@pytest.fixture
def window(monkeypatch):
    """A window under an invisible X server, and its mouse."""
    for program in ("Xvfb", "xdotool"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed; the window cannot be tried")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1200x900x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    with open(read, closefd=True) as pipe:
        os.close(write)
        monkeypatch.setenv("DISPLAY", f":{pipe.readline().strip()}")
    screen = open_screen("window", "Manual pass")
    yield screen, lambda: XMouse("Manual pass")
    screen.close()
    server.terminate()
    server.wait()


@pytest.fixture
def page():
    """A page in headless Chromium, and its mouse."""
    browser = Chromium()
    browser.resize(1200, 900)
    screen = open_screen("browser", "Manual pass", say=lambda line: None)

    def mouse():
        browser.open(screen.url)
        return PageMouse(browser)

    yield screen, mouse
    browser.close()
    screen.close()


def work_through(run, mouse):
    """Move, size, lock, go back, skip, place by hand and finish, as a user would."""
    run.caption("1 of 6", "face 200 px")
    mouse.move(300, 150)
    mouse.wheel(-2)
    run.caption("face 162 px")
    mouse.wheel(1)
    run.caption("face 178 px")
    run.answers(lambda: mouse.click("left"), "locked")
    mouse.move(500, 300)
    run.answers(lambda: mouse.key("enter"), "2 of 6")
    run.answers(lambda: mouse.key("space"), "3 of 6")
    run.answers(lambda: mouse.key(","), "2 of 6", "no face")
    mouse.move(200, 200)
    run.answers(lambda: mouse.key("enter"), "3 of 6")
    run.answers(lambda: mouse.click("right"), "placed by hand")
    run.answers(lambda: mouse.move(200, 300), "face 400 px")
    run.answers(lambda: mouse.click("left"), "locked")
    run.answers(lambda: mouse.key("."), "4 of 6")
    run.answers(lambda: mouse.key("a"), "quick")
    for half in (*range(190, 90, -10), 90, 81, 73, 66, 60, 54, 49, 45, 41, 37, 36):
        mouse.wheel(-1)
        run.caption(f"face {2 * half} px")
    mouse.key("q")
    run.join(timeout=20)
    assert not run.is_alive()


def check(results):
    assert [(r.frame, r.face is not None) for r in results] == [
        ("0.png", True), ("1.png", False), ("1.png", True), ("2.png", True),
        ("3.png", False), ("4.png", False), ("5.png", False)]  # fmt: skip
    first, _, second, turned = (result.face for result in results[:4])
    left, top, right, bottom = first.rect
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((300 / SCALE, 150 / SCALE), abs=3)
    assert right - left == 178
    left, top, right, bottom = second.rect
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((200 / SCALE, 200 / SCALE), abs=3)
    np.testing.assert_allclose(turned.landmarks[30], (200 / SCALE, 200 / SCALE), atol=3)
    assert turned.landmarks[8, 0] < turned.landmarks[30, 0] - 50, "the chin is to the left of the nose"


def test_a_window_with_a_real_mouse(window):
    screen, make_mouse = window
    run = Run(screen)
    mouse = make_mouse()
    work_through(run, mouse)
    check(run.results)


def test_a_page_with_a_real_mouse(page):
    screen, make_mouse = page
    run = Run(screen)
    mouse = make_mouse()
    run.wait(mouse.image_ready, "image in the page")
    work_through(run, mouse)
    check(run.results)


def test_closing_the_window_keeps_what_was_decided(window):
    screen, make_mouse = window
    run = Run(screen)
    mouse = make_mouse()
    mouse.move(300, 150)
    run.answers(lambda: mouse.key("enter"), "2 of 6")
    screen._child.terminate()  # as when its display is gone
    run.join(timeout=20)
    assert not run.is_alive() and [r.frame for r in run.results] == ["0.png"]
