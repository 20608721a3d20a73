"""The page in a real browser: what is drawn, and what keys, mouse and wheel do."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from core.interact.screen import KeyEvent, MouseEvent
from core.interact.screen_browser import BrowserScreen
from tests.chromium import Chromium, Tunnel, wait_until

COLOUR = """(() => { const i = document.getElementById("image"), c = document.createElement("canvas");
if (!i.naturalWidth) return null;
c.width = i.naturalWidth; c.height = i.naturalHeight; const g = c.getContext("2d"); g.drawImage(i, 0, 0);
return Math.round(g.getImageData(5, 5, 1, 1).data[1] / 10) * 10; })()"""
CAPTION = 'document.getElementById("caption").textContent'
BOX = """const b = document.getElementById("image").getBoundingClientRect();
return [b.left, b.top, b.width, b.height, innerWidth, innerHeight, document.documentElement.scrollHeight]"""


@pytest.fixture(scope="module")
def browser():
    started = Chromium()
    yield started
    started.close()


@pytest.fixture
def page(browser):
    """A screen whose page is open in a tab of its own and shows 400 x 300 pixels."""
    screen = BrowserScreen("Preview")
    first = browser.tab()
    browser.new_tab()
    screen.show(picture(100), "picture one")
    browser.open(screen.url)
    browser.wait(COLOUR, 100)
    browser.log()
    yield screen
    browser.close_tab()
    browser.choose(first)
    screen.close()


def picture(value: int, height: int = 300, width: int = 400) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def events_until(screen: BrowserScreen, last: object) -> list[object]:
    found: list[object] = []
    wait_until(lambda: found.extend(screen.events(0.1)) or last in found, f"{last}; came {found}")
    return found


def test_pictures_and_captions_follow_without_errors(browser, page):
    browser.wait(CAPTION, "picture one")
    for value in (120, 200, 40):
        page.show(picture(value), f"grün {value}")
        browser.wait(COLOUR, value)
        browser.wait(CAPTION, f"grün {value}")
    assert browser.log() == []
    assert browser.run(
        'return performance.getEntriesByType("resource").every(r => r.name.startsWith("http://127.0.0.1"))'
    )
    assert browser.run("return document.referrer") == ""


def test_keys_arrive_in_their_order(browser, page):
    browser.key("a")
    browser.key("Shift", "l")
    browser.key("Enter")
    browser.key(" ")
    browser.key("ArrowLeft")
    browser.key(",")
    browser.key("Control", "a")  # the browser's own
    browser.key("q")
    assert events_until(page, KeyEvent("q")) == [
        KeyEvent("a"), KeyEvent("l", True), KeyEvent("enter"), KeyEvent("space"), KeyEvent("left"),
        KeyEvent(","), KeyEvent("q")]  # fmt: skip


def test_the_mouse_points_at_pixels_of_the_image(browser, page):
    left, top, *_ = browser.run(BOX)
    browser.move(left + 11, top + 22)
    browser.press()
    browser.release()
    browser.press("right")
    browser.release("right")
    browser.wheel(left + 11, top + 22, 120)
    browser.wheel(left + 11, top + 22, -120)
    at = (11, 22)
    found = events_until(page, MouseEvent("wheel", *at, 1))
    assert [event for event in found if event.action != "move"] == [
        MouseEvent("left_down", *at), MouseEvent("left_up", *at), MouseEvent("right_down", *at),
        MouseEvent("right_up", *at), MouseEvent("wheel", *at, -1), MouseEvent("wheel", *at, 1)]  # fmt: skip


def test_a_drag_that_leaves_the_image_ends_there(browser, page):
    left, top, width, *_ = browser.run(BOX)
    browser.move(left + 50, top + 60)
    browser.press()
    browser.move(left + width + 30, top + 90)
    browser.release()
    found = events_until(page, MouseEvent("left_up", 399, 90))
    assert MouseEvent("move", 399, 90) in found
    browser.move(left + width + 60, top + 90)  # no longer held: nobody's business
    browser.move(left + 5, top + 5)
    found = events_until(page, MouseEvent("move", 5, 5))
    assert all(event.x < 399 for event in found)


def test_a_touchpads_small_steps_are_gathered(browser, page):
    left, top, *_ = browser.run(BOX)
    for _ in range(20):
        browser.wheel(left + 10, top + 10, 10)
    browser.key("q")
    found = events_until(page, KeyEvent("q"))
    assert sum(event.wheel for event in found if isinstance(event, MouseEvent)) == -4


@pytest.mark.parametrize(("tall", "wide"), [(3000, 1500), (1500, 6000)])
def test_pictures_larger_than_the_page_are_seen_whole_and_scaled(browser, page, tall, wide):
    page.show(picture(60, tall, wide))
    browser.wait(COLOUR, 60)
    left, top, width, height, inner_width, inner_height, scrolled = browser.run(BOX)
    assert left + width <= inner_width and top + height <= inner_height >= scrolled
    assert width / height == pytest.approx(wide / tall, rel=0.02)
    browser.move(left + width / 2, top + height / 2)
    browser.press()
    browser.release()
    found = events_until(page, next_of(page, "left_down"))
    (event,) = [event for event in found if event.action == "left_down"]
    assert (event.x, event.y) == (pytest.approx(wide / 2, abs=8), pytest.approx(tall / 2, abs=8))


def next_of(screen: BrowserScreen, action: str):
    class Any:
        def __eq__(self, other: object) -> bool:
            return getattr(other, "action", None) == action

    return Any()


def test_two_viewers_a_closed_tab_and_one_opened_again(browser, page):
    one = browser.tab()
    two = browser.new_tab("window")
    browser.open(page.url)
    browser.wait(COLOUR, 100)
    page.show(picture(150))
    for tab in (one, two):
        browser.choose(tab)
        browser.wait(COLOUR, 150)
        browser.key(str(value := 1 if tab == one else 2))
        assert events_until(page, KeyEvent(str(value))) == [KeyEvent(str(value))]
    browser.close_tab()
    page.show(picture(210))
    browser.choose(one)
    browser.wait(COLOUR, 210)
    browser.new_tab()
    browser.open(page.url)
    browser.wait(COLOUR, 210)
    browser.key("p")
    events_until(page, KeyEvent("p"))
    browser.close_tab()
    browser.choose(one)


def test_more_tabs_than_a_browser_has_connections(browser, page):
    one = browser.tab()
    for _ in range(8):  # six connections to a server are what browsers allow themselves
        browser.new_tab()
        browser.open(page.url)
        browser.wait(COLOUR, 100)
    page.show(picture(180))
    browser.wait(COLOUR, 180)
    browser.key("p")
    events_until(page, KeyEvent("p"))
    for tab in browser.tabs():
        if tab != one and tab != browser.first:
            browser.choose(tab)
            browser.close_tab()
    browser.choose(one)
    browser.wait(COLOUR, 180)


def test_a_tunnel_with_another_port_may_break_and_come_back(browser, page):
    tunnel = Tunnel(page.port)
    try:
        for name in ("127.0.0.1", "localhost"):
            browser.open(page.url.replace(f"127.0.0.1:{page.port}", f"{name}:{tunnel.port}"))
            browser.wait(COLOUR, 100)
        tunnel.cut()
        page.show(picture(170), "after the break")
        browser.wait('document.getElementById("caption").className', "off")
        browser.key("z")  # pressed in vain
        browser.key("w")
        tunnel.mend()
        browser.wait(COLOUR, 170)
        browser.wait(CAPTION, "after the break")
        browser.key("q")
        found = events_until(page, KeyEvent("q"))
        assert found.count(KeyEvent("q")) == 1 and found.count(KeyEvent("z")) <= 1
        tunnel.cut()
        browser.wait('document.getElementById("caption").className', "off")
        tunnel.mend()
        browser.wait(CAPTION, "after the break")  # also without a new picture
    finally:
        tunnel.close()


def test_keys_pressed_long_before_a_connection_is_back_are_dropped(browser, page):
    tunnel = Tunnel(page.port)
    try:
        browser.open(page.url.replace(f":{page.port}", f":{tunnel.port}"))
        browser.wait(COLOUR, 100)
        tunnel.cut()
        browser.key("x")
        wait_until(lambda: browser.run("return !sending"), "giving up")
        tunnel.mend()
        browser.wait(CAPTION, "picture one")
        browser.key("q")
        assert KeyEvent("x") not in events_until(page, KeyEvent("q"))
    finally:
        tunnel.close()


def test_the_end_of_the_program_is_told(browser, page):
    page.close()
    browser.wait(f'{CAPTION}.includes("has ended")', True)


def test_no_event_is_lost_while_pictures_change(browser, page):
    left, top, *_ = browser.run(BOX)
    ended = threading.Event()

    def change() -> None:
        noise = np.random.default_rng(0).integers(0, 255, (8, 300, 400, 3), np.uint8)
        for image in itertools.cycle(noise):
            if ended.wait(0.004):
                return
            page.show(image)

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(60):
        browser.wheel(left + 10, top + 10, 100)
    ended.set()
    thread.join()
    browser.key("q")
    found = events_until(page, KeyEvent("q"))
    assert len([event for event in found if isinstance(event, MouseEvent) and event.wheel]) == 60
