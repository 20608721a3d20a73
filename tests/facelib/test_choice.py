"""Which networks are taken: as asked, the best that is here, or the next best with a word."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from core.errors import UsageError
from facelib import weights
from facelib.choice import MANUAL, Choice, choose


@pytest.fixture
def here(monkeypatch):
    """Let only these weights be here; fetching brings those in `reachable`."""

    store = SimpleNamespace(names=set(), reachable=set(), asked=[])

    def ensure(name, ask, say):
        if name not in store.names and ask(f"fetch {name}?"):
            store.asked.append(name)
            store.names |= {name} & store.reachable
        return name in store.names

    monkeypatch.setattr(weights, "available", lambda name: name in store.names)
    monkeypatch.setattr(weights, "ensure", ensure)
    return store


def yes(_: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("present", "detector", "landmarker", "face_type", "expected"),
    [
        ((), "auto", "auto", "whole_face", ("blazeface", "facemesh")),
        (("S3FD", "2DFAN"), "auto", "auto", "whole_face", ("s3fd", "fan")),
        (("S3FD", "2DFAN", "3DFAN"), "auto", "auto", "head", ("s3fd", "fan3d")),
        (("S3FD", "2DFAN"), "auto", "auto", "head", ("s3fd", "facemesh")),
        (("S3FD",), "auto", "auto", "whole_face", ("s3fd", "facemesh")),
        (("2DFAN",), "auto", "auto", "whole_face", ("blazeface", "facemesh")),
        (("S3FD", "2DFAN"), "blazeface", "auto", "whole_face", ("blazeface", "facemesh")),
        (("S3FD", "2DFAN"), "auto", "facemesh", "whole_face", ("s3fd", "facemesh")),
        (("2DFAN", "3DFAN"), "mtcnn", "fan", "mark_only", ("mtcnn", "fan3d")),
        (("2DFAN",), MANUAL, "auto", "whole_face", (MANUAL, "fan")),
        ((), MANUAL, "auto", "whole_face", (MANUAL, "facemesh")),
        ((), "dlib-hog", "dlib68", "whole_face", ("dlib-hog", "dlib68")),
    ],
)
def test_the_best_that_is_here_is_taken(here, present, detector, landmarker, face_type, expected):
    here.names = set(present)
    said: list[str] = []
    assert choose(detector, landmarker, face_type, say=said.append, ask=yes) == Choice(*expected)
    assert not here.asked and not said


def test_what_is_asked_for_is_fetched(here):
    here.reachable = {"S3FD", "2DFAN"}
    assert choose("s3fd", "fan", ask=yes).name == "s3fd+fan"
    assert here.asked == ["S3FD", "2DFAN"]


def test_the_next_best_comes_with_a_word(here):
    said: list[str] = []
    assert choose("s3fd", "fan", say=said.append, ask=yes).name == "blazeface+facemesh"
    assert len(said) == 2 and "blazeface" in said[0] and "weights fetch S3FD" in said[0]
    said.clear()
    assert choose("s3fd", "auto", say=said.append).name == "blazeface+facemesh"  # nobody may be asked
    assert len(said) == 1


def test_a_mistyped_folder_is_told_where_it_matters(here, monkeypatch, tmp_path):
    monkeypatch.setenv("FACELAB_WEIGHTS", str(tmp_path / "wieghts"))
    said: list[str] = []
    choose("auto", "auto", say=said.append)
    assert len(said) == 1 and "FACELAB_WEIGHTS" in said[0] and "wieghts" in said[0]
    said.clear()
    choose("blazeface", "facemesh", say=said.append)
    here.names = {"S3FD", "2DFAN"}
    choose("auto", "auto", say=said.append)
    assert not said
    here.names = set()
    monkeypatch.setenv("FACELAB_WEIGHTS", str(tmp_path))
    choose("auto", "auto", say=said.append)
    assert not said


def test_auto_fetches_only_after_a_yes(here):
    here.reachable = {"S3FD", "2DFAN"}
    questions: list[str] = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    assert choose(offer=no).name == "blazeface+facemesh"
    assert len(questions) == 1 and "S3FD and 2DFAN" in questions[0]
    assert choose(ask=yes).name == "blazeface+facemesh" and not here.asked
    assert choose(offer=yes).name == "s3fd+fan"


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="s3fd"):
        choose("s4fd")
    with pytest.raises(UsageError, match="facemesh"):
        choose("auto", "fan9")
