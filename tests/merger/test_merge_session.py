"""The session: what it keeps, what it redoes, what it never touches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import FileFormatError
from merger.frames import FrameFaces
from merger.merge_face import FrameFace
from merger.options import MergeOptions
from merger.session import MergeSession, State, input_hash

MODEL = {"name": "a", "kind": "Quick96", "iteration": 5}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("in", "out", "mask"):
        (tmp_path / name).mkdir()
    return tmp_path / "out", tmp_path / "mask"


@pytest.fixture
def frame(tmp_path: Path, folders, landmarks) -> FrameFaces:
    path = tmp_path / "in" / "00001.png"
    path.write_bytes(b"frame")
    return FrameFaces(path, (FrameFace(landmarks(50, 50)),))


def begun(folders, options: MergeOptions | None = None, model=MODEL) -> MergeSession:
    session = MergeSession(*folders)
    session.begin_run(options or MergeOptions(), model)
    return session


def merge(session: MergeSession, frame: FrameFaces, content: bytes = b"result") -> None:
    session.begin_frame(frame)
    session.mask_path(frame.stem).write_bytes(content)
    session.result_path(frame.stem).write_bytes(content)
    session.finish_frame(frame, input_hash(frame))


def test_a_merged_frame_is_remembered(folders, frame):
    with begun(folders) as session:
        assert session.state(frame) is State.MISSING
        merge(session, frame)
        assert session.state(frame) is State.DONE
    assert begun(folders).state(frame) is State.DONE


@pytest.mark.parametrize(
    ("options", "model"),
    [(MergeOptions(mode="seamless"), MODEL), (MergeOptions(), {**MODEL, "iteration": 6})],
)
def test_other_options_or_another_model_make_it_outdated(folders, frame, options, model):
    with begun(folders) as session:
        merge(session, frame)
    with begun(folders, options, model) as session:
        assert session.state(frame) is State.OUTDATED
    assert begun(folders).state(frame) is State.DONE  # the first settings are known still


def test_other_faces_or_another_frame_make_it_outdated(folders, frame, landmarks):
    with begun(folders) as session:
        merge(session, frame)
        assert session.state(replace(frame, faces=(FrameFace(landmarks(51, 50)),))) is State.OUTDATED
        frame.path.write_bytes(b"another frame")
        assert session.state(frame) is State.OUTDATED


def test_a_missing_file_is_made_again(folders, frame):
    with begun(folders) as session:
        merge(session, frame)
        session.mask_path(frame.stem).unlink()
        assert session.state(frame) is State.MISSING


def test_files_of_others_are_foreign(folders, frame):
    session = begun(folders)
    session.result_path(frame.stem).write_bytes(b"made by hand")
    assert session.state(frame) is State.FOREIGN


def test_a_retouched_result_is_foreign(folders, frame):
    with begun(folders) as session:
        merge(session, frame)
    session.result_path(frame.stem).write_bytes(b"made nicer by hand")
    assert begun(folders).state(frame) is State.FOREIGN


@pytest.mark.parametrize("written", ["nothing", "mask", "both"])
def test_a_frame_that_was_being_written_is_ours(folders, frame, written):
    session = begun(folders)
    session.begin_frame(frame)
    if written != "nothing":
        session.mask_path(frame.stem).write_bytes(b"x")
    if written == "both":
        session.result_path(frame.stem).write_bytes(b"x")
    del session  # killed
    assert begun(folders).state(frame) is State.MISSING


def test_a_session_cut_anywhere_is_read_up_to_there(folders, frame):
    with begun(folders) as session:
        merge(session, frame)
    whole = session.path.read_bytes()
    for length in range(len(whole)):
        session.path.write_bytes(whole[:length])
        again = MergeSession(*folders)
        again.begin_run(MergeOptions(), MODEL)
        again.close()
        assert again.state(frame) in (State.DONE, State.MISSING, State.FOREIGN)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\n", b"[]\n", b'{"version": 2}\n', b'{"frame": "a", "sizes": 1}\n', b"{}\n"]
)
def test_another_file_in_its_place_is_refused(folders, content):
    (folders[0] / "merge_session.jsonl").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"merge_session\.jsonl: line 1"):
        MergeSession(*folders)


def test_the_file_does_not_grow_with_each_run(folders, frame):
    for iteration in range(5):
        with begun(folders, model={**MODEL, "iteration": iteration}) as session:
            merge(session, frame)
    lines = session.path.read_text().splitlines()
    assert len(lines) <= 6
