"""The state machine of manual extraction, without a screen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.interact.screen import MOUSE_ACTIONS, ClosedEvent, KeyEvent, MouseEvent
from facelib.mean_face import place_mean_face
from mainscripts.extract_manual_session import ManualSession
from mainscripts.extract_manual_view import base_view, zoomed_view

FRAME = np.random.default_rng(3).integers(0, 255, (360, 640, 3), np.uint8)
NAMES = ["1.png", "2.png", "3.png"]


def face_in(rect):
    """Landmarks that tell where they were found."""
    left, top, right, bottom = rect
    return place_mean_face(((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, 0.0))


def answer(session, landmarks=face_in):
    """Bring everything that the session waits for."""
    while session.frame_wanted is not None or session.landmarks_wanted is not None:
        if session.frame_wanted is not None:
            session.open_frame(FRAME)
        else:
            request = session.landmarks_wanted
            session.landmarks_found(request, landmarks(request.rect))


def start(names=NAMES, **options):
    session = ManualSession(names, 1138, **options)
    answer(session)
    return session


def key(session, *names):
    for name in names:
        session.handle(KeyEvent(name))
        answer(session)


def mouse(session, action, x=0, y=0, wheel=0):
    session.handle(MouseEvent(action, x, y, wheel))
    answer(session)


def decided(session):
    return [(result.frame, result.face is not None) for result in session.take_results()]


def test_the_square_follows_the_mouse_in_pixels_of_the_frame():
    session = start()
    scale = 1138 / (360 * 16 / 9)
    mouse(session, "move", 300, 200)
    assert session.selection.centre == pytest.approx((300.5 / scale - 0.5, 200.5 / scale - 0.5))
    key(session, "enter")
    (result,) = session.take_results()
    left, top, right, bottom = result.face.rect
    assert (left + right) / 2 == pytest.approx(300 / scale, abs=1.5) and right - left == 200
    np.testing.assert_allclose(result.face.landmarks, face_in((left, top, right, bottom)), atol=1)


def test_the_wheel_goes_in_steps_of_dfl_and_not_while_locked():
    session = start()
    sizes = []
    for _ in range(60):
        mouse(session, "wheel", wheel=-1)
        sizes.append(session.selection.half)
    assert sizes[:6] == [90, 81, 73, 66, 60, 54] and sizes[-1] == 5
    assert all(a - b == 1 for a, b in itertools.pairwise(sizes) if 5 < a <= 40)
    mouse(session, "wheel", wheel=1)
    assert session.selection.half == 6
    mouse(session, "left_down", 5, 5)
    mouse(session, "wheel", wheel=1)
    assert session.selection.half == 6


def test_a_locked_square_stays_until_it_is_unlocked():
    session = start()
    mouse(session, "move", 300, 200)
    mouse(session, "left_down", 300, 200)
    before = session.selection.centre
    mouse(session, "move", 500, 100)
    assert session.selection.locked and session.selection.centre == before
    mouse(session, "left_down", 500, 100)
    assert not session.selection.locked and session.selection.centre[0] > before[0] + 100


def test_enter_accepts_space_skips_and_the_last_frame_ends():
    session = start()
    key(session, "enter", "space", "enter")
    assert decided(session) == [("1.png", True), ("2.png", False), ("3.png", True)]
    assert session.finished and session.frame_wanted is None


def test_next_and_previous_keep_a_locked_face_only():
    session = start()
    mouse(session, "left_down", 100, 100)
    key(session, ".")
    key(session, ".")
    assert decided(session) == [("1.png", True), ("2.png", False)]
    mouse(session, "left_down", 100, 100)
    key(session, ",")
    assert decided(session) == [("3.png", True)] and session.index == 1
    key(session, ",", ",")
    assert session.index == 0 and "first" in session.message
    assert decided(session) == []


def test_going_back_shows_the_face_and_lets_it_change():
    session = start()
    mouse(session, "move", 300, 200)
    key(session, "enter")
    first = session.take_results()[0].face
    mouse(session, "move", 600, 400)
    key(session, ",")
    assert session.selection.locked and "a face" in session.caption
    np.testing.assert_array_equal(session.selection.landmarks, first.landmarks)
    key(session, ".", ",")
    assert decided(session) == [], "nothing is written again that did not change"
    mouse(session, "left_down", 610, 400)
    key(session, ".", ",")
    assert decided(session) == [], "leaving an unlocked square takes no face away"
    mouse(session, "left_down", 610, 400)
    key(session, "enter")
    (result,) = session.take_results()
    assert result.frame == "1.png" and result.face.rect != first.rect
    key(session, ",", "space")
    assert decided(session) == [("1.png", False)]


def test_q_keeps_a_locked_face_and_skips_the_undecided_rest():
    session = start([*NAMES, "4.png"])
    key(session, "enter", "enter", ",", ",")
    session.take_results()
    mouse(session, "left_down", 9, 9)  # unlocks
    mouse(session, "move", 500, 300)
    mouse(session, "left_down", 500, 300)
    key(session, "q")
    assert decided(session) == [("1.png", True), ("3.png", False), ("4.png", False)]
    assert session.finished


@pytest.mark.parametrize("event", [KeyEvent("escape"), ClosedEvent()])
def test_stopping_leaves_the_rest_undecided_and_keeps_a_locked_face(event):
    session = start()
    key(session, "enter")
    mouse(session, "left_down", 9, 9)
    session.handle(event)
    assert decided(session) == [("1.png", True), ("2.png", True)] and session.finished


def test_landmarks_placed_by_hand_have_their_nose_at_the_click_and_follow_the_cursor():
    session = start(accurate=False)
    mouse(session, "move", 400, 300)
    mouse(session, "right_down", 400, 300)
    centre = np.array(session.selection.centre)
    np.testing.assert_allclose(session.selection.landmarks[30], centre, atol=1e-3)
    assert session.landmarks_wanted is None
    mouse(session, "move", 400, 480)  # straight down: the face lies on its side
    scale = 1138 / 640
    landmarks = session.selection.landmarks
    np.testing.assert_allclose(landmarks[30], centre, atol=1e-3)
    eyes = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    assert eyes[1] > 0 and abs(eyes[0]) < 0.05 * eyes[1]
    assert np.ptp(landmarks[:17], axis=0).min() > 0.5 * 180 / scale, "the jaw is no single point"
    assert session.selection.half == round(180 / scale)
    mouse(session, "left_down", 400, 480)
    mouse(session, "move", 100, 100)
    key(session, "enter")
    (result,) = session.take_results()
    np.testing.assert_array_equal(result.face.landmarks, landmarks)
    mouse(session, "right_down", 100, 100)
    mouse(session, "right_down", 100, 100)
    assert session.selection.across is None and not session.selection.locked


def test_by_hand_the_size_of_a_zoomed_face_is_what_the_eye_sees():
    session = start()
    for _ in range(16):
        mouse(session, "wheel", wheel=-1)
    half = session.selection.half
    assert 20 < half < 41
    mouse(session, "move", 400, 300)
    mouse(session, "right_down", 400, 300)
    mouse(session, "move", 500, 300)
    enlarged = (640 / 4) / half  # the square is half of the view's height
    assert session.selection.half == pytest.approx(100 / enlarged, abs=0.6)


def test_a_decision_waits_for_its_own_landmarks_and_keys_wait_with_it():
    session = ManualSession(NAMES, 1368)
    session.open_frame(FRAME)
    session.handle(MouseEvent("move", 300, 200))
    early = session.landmarks_wanted
    session.handle(MouseEvent("move", 700, 400))
    request = session.landmarks_wanted
    session.handle(KeyEvent("enter"))
    session.handle(KeyEvent("space"))
    session.landmarks_found(early, face_in(early.rect))
    session.landmarks_found(request, face_in(early.rect), final=False)
    assert session.take_results() == [] and session.index == 0
    session.landmarks_found(request, face_in(request.rect))
    (result,) = session.take_results()
    np.testing.assert_array_equal(result.face.landmarks, face_in(request.rect).astype(np.float32))
    assert session.frame_wanted == 1
    session.open_frame(FRAME)
    assert decided(session) == [("2.png", False)] and session.frame_wanted == 2


def test_a_key_held_down_stops_soon_after_it_is_let_go():
    session = ManualSession([str(n) for n in range(50)], 640)
    session.open_frame(FRAME)
    for _ in range(40):
        session.handle(KeyEvent("enter"))
    answer(session)
    assert session.index <= 5


@pytest.mark.parametrize("landmarks", [None, np.zeros((68, 2)), np.full((68, 2), np.nan)])
def test_without_landmarks_enter_stays_and_says_what_helps(landmarks):
    session = ManualSession(NAMES, 640)
    answer(session, lambda rect: landmarks)
    session.handle(KeyEvent("enter"))
    assert session.take_results() == [] and session.index == 0 and "right click" in session.message
    session.handle(MouseEvent("left_down", 3, 3))
    session.handle(KeyEvent("q"))
    answer(session, lambda rect: landmarks)
    assert decided(session) == [(name, False) for name in NAMES]


def test_unreadable_frames_are_stepped_over_both_ways():
    session = ManualSession(NAMES, 640)
    session.frame_failed("1.png: not an image")
    answer(session)
    assert session.index == 1
    key(session, ",")
    assert session.index == 1 and "first" in session.message
    session.handle(KeyEvent("enter"))
    session.frame_failed("3.png: gone")
    assert session.finished
    assert [(r.frame, r.error) for r in session.take_results()] == [
        ("1.png", "1.png: not an image"), ("2.png", ""), ("3.png", "3.png: gone")]  # fmt: skip


def test_a_key_leads_to_the_faces_that_a_detector_found():
    session = start()
    key(session, "f")
    assert "no face" in session.message
    session.faces_found(0, [(100, 50, 180, 150), (300.4, 60, 340, 90)])
    key(session, "f")
    assert session.selection.locked and session.selection.centre == (140, 100)
    assert session.selection.half == 50
    key(session, "f")
    assert session.selection.centre == (320, 75)
    key(session, "f")
    assert session.selection.centre == (140, 100)


def test_accuracy_is_asked_for_and_can_be_turned_off():
    session = ManualSession(NAMES, 640)
    session.open_frame(FRAME)
    assert session.landmarks_wanted.accurate
    session.handle(KeyEvent("a"))
    assert not session.landmarks_wanted.accurate and "quick" in session.caption


def test_the_zoomed_view_shows_the_square_under_the_mouse_and_whole():
    base, _ = base_view(FRAME, 1138)
    view = zoomed_view(base, (320, 180), 20)
    np.testing.assert_allclose(view.to_view((320, 180)), base.to_view((320, 180)))
    assert view.scale * 40 == pytest.approx(base.height / 2)
    corner = zoomed_view(base, (2, 359), 20)
    left, _ = corner.to_view((-18, 339))
    right, bottom = corner.to_view((22, 379))
    assert left >= -0.01 and bottom <= base.height + 0.01 and right - left == pytest.approx(320)


def test_what_is_drawn_shows_lock_zoom_help_and_lens():
    session = start()
    assert session.draw().shape == (640, 1138, 3) and not session.changed
    mouse(session, "move", 540, 320)
    green = session.draw()
    assert (green == (0, 255, 0)).all(-1).sum() > 50
    mouse(session, "left_down", 540, 320)
    locked = session.draw()
    assert (locked == (255, 255, 0)).all(-1).sum() > 50 and (locked == (0, 255, 0)).all(-1).sum() == 0
    key(session, "h")
    assert (session.draw()[20:100, :300] != locked[20:100, :300]).any()
    key(session, "z")
    lens = np.s_[-150:, -150:]
    assert (session.draw()[lens] != locked[lens]).any()


def test_beside_a_narrow_frame_the_lens_covers_nothing():
    session = ManualSession(["1.png"], 640)
    session.open_frame(FRAME[:, :300])
    session.handle(KeyEvent("h"))
    with_lens = session.draw()
    session.handle(KeyEvent("z"))
    without = session.draw()
    assert without.shape == (360, 300, 3) and with_lens.shape[1] > 360
    np.testing.assert_array_equal(with_lens[:, :300], without)


EVENTS = st.one_of(
    st.builds(KeyEvent, st.sampled_from(["enter", "space", ",", ".", "a", "f", "h", "z", "x"])),
    st.builds(KeyEvent, st.sampled_from(["q", "escape", "enter", ",", "."])),
    st.builds(
        MouseEvent,
        st.sampled_from(MOUSE_ACTIONS),
        st.integers(-50, 700),
        st.integers(-50, 500),
        st.sampled_from([-1, 1]),
    ),
)


@settings(max_examples=60)
@given(
    st.lists(EVENTS, max_size=60),
    st.sampled_from([(1, 1), (64, 48), (40, 300)]),
    st.sampled_from([0, 1, 100, 400]),
    st.data(),
)
def test_whatever_is_done_nothing_decided_is_lost(events, shape, window_size, data):
    frame = np.zeros((*shape, 3), np.uint8)
    session = ManualSession(NAMES, window_size)
    told: dict[str, bool] = {}

    def collect():
        for result in session.take_results():
            if result.face is not None:
                left, top, right, bottom = result.face.rect
                assert 0 <= left < right and 0 <= top < bottom
                assert result.face.landmarks.shape == (68, 2) and np.isfinite(result.face.landmarks).all()
            assert told.get(result.frame) is not False or result.face is not None, "told twice"
            told[result.frame] = result.face is not None

    for event in events:
        while session.frame_wanted is not None:
            if data.draw(st.integers(0, 15)) == 0:
                session.frame_failed("gone")
            else:
                session.open_frame(frame)
        session.handle(event)
        request = session.landmarks_wanted
        if request is not None and data.draw(st.booleans()):
            session.landmarks_found(request, face_in(request.rect), data.draw(st.booleans()))
        if not session.finished:
            assert session.selection.half >= 5
            picture = session.draw()
            assert picture.dtype == np.uint8 and picture.ndim == 3
        before = dict(told)
        collect()
        assert set(before) <= set(told)
    if not session.finished:
        answer(session)
        key(session, "q")
        collect()
        assert session.finished
