"""The page and the command: `util --report`."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import facelib
import main
from samplelib.report.findings import compare, findings, study
from samplelib.report.measure import ROW, TINY, FaceTable, StoredImage
from samplelib.report.page import build_page
from samplelib.report.sheets import extremes, make_sheets
from samplelib.report.suspects import find_suspects

VOID = {"meta", "img", "br", "link"}
HOSTILE = "\"><img src=http://evil.example/x onerror=alert(1)>'&amp;</title>.jpg"


class Checker(HTMLParser):
    """Collects what is wrong with a page, and what is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.wrong, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img" and not (values.get("alt") and values["src"].startswith("data:image/jpeg;base64,")):
            self.wrong.append(values)
        if tag == "svg" and not (values.get("role") == "img" and values.get("aria-label")):
            self.wrong.append(values)
        if tag in ("script", "link", "iframe", "object", "form", "base") or any(
            k[:2] == "on" for k in values
        ):
            self.wrong.append((tag, values))
        for name in ("src", "href", "xlink:href", "action", "style"):
            if not (values.get(name) or "#").startswith(("#", "data:image/")):
                self.wrong.append((tag, name, values[name]))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data):
        self.text.append(data)


def checked(page: str) -> Checker:
    """The page, if nothing is wrong with it and it reaches for nothing outside of it."""
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert not checker.wrong and not checker.open
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    return checker


def made_up(count: int, title: str = "set", name=lambda n: f"{n:05d}_0.jpg", **values):
    rng = np.random.default_rng(3)
    rows = np.zeros(count, ROW)
    rows["size"], rows["crop_side"], rows["unit_side"], rows["rect_side"] = 256, 300, 150, np.nan
    rows["sharpness"], rows["brightness"], rows["landmark_error"] = 0.5, 120, 0.05
    for key, value in values.items():
        rows[key] = value
    items = [StoredImage(name(n), Path("x")) for n in range(count)]
    tiny = rng.integers(0, 255, (count, TINY, TINY)).astype(np.uint8)
    table = FaceTable(items, rows, tiny, ["whole_face"] * count, [f"{n}.png" for n in range(count)])
    return study(title, table, find_suspects(table, None))


def page_of(*studies) -> str:
    sheets = [make_sheets(one) for one in studies]
    pictures = [{0: "data:image/jpeg;base64,AAAA"} for _ in studies]
    comparison = compare(*studies) if len(studies) == 2 else None
    return build_page(studies, sheets, pictures, comparison, "today")


def levels(found, word: str) -> list[str]:
    return [one.level for one in found if word in one.text]


@pytest.mark.parametrize("counts", [(0,), (1,), (2, 0), (0, 3), (0, 0), (1, 1), (30, 40)])
def test_pages_of_any_size_are_whole_and_need_nothing_else(counts):
    page = page_of(*(made_up(count) for count in counts))
    checker = checked(page)
    assert not re.search(r"https?://|file:|//\w", page)
    text = "".join(checker.text)
    assert "nan" not in text.lower().split()
    assert ("no faces" in text) == (0 in counts)


def test_hostile_names_are_only_text():
    one = made_up(3, title=HOSTILE, name=lambda n: f"{n}{HOSTILE}\u202e")
    one.table.unreadable[HOSTILE] = HOSTILE
    one.table.notes.append(HOSTILE)
    page = page_of(one, made_up(3, title="<script>x</script>"))
    checker = checked(page)
    assert "\u202e" not in page
    assert HOSTILE in "".join(checker.text)


def test_what_is_covered_is_good():
    verdict = compare(made_up(300, yaw=np.linspace(-20, 20, 300)), made_up(50, yaw=10)).verdict
    assert {one.level for one in verdict} == {"good"}


def test_what_is_missing_is_told_with_its_direction():
    src = made_up(300, yaw=-30, brightness=200, side_light=0.2, unit_side=80, sharpness=0.2, red=-9)
    found = compare(src, made_up(50, yaw=32, pitch=-21))
    pose = next(one for one in found.verdict if one.text.startswith("Poses"))
    assert pose.level == "bad"
    assert "50 of 50 destination faces (100 %) have no source face" in pose.text
    assert "about 30° to the viewer's left and about 20° down (50 faces)" in pose.text
    for word, level in (("darker", "note"), ("viewer's right", "note"), ("redder", "note")):
        assert levels(found.verdict, word) == [level], word
    assert levels(found.verdict, "Film the source from nearer") == ["bad"]
    assert levels(found.verdict, "the source is softer") == ["bad"]
    assert "✕" in page_of(src, made_up(50, yaw=32))


def test_mirrored_faces_are_proposed_where_they_help():
    found = compare(made_up(300, yaw=-30), made_up(50, yaw=30))
    assert levels(found.verdict, "random_src_flip") == ["note"]


def test_suspects_cover_nothing():
    yaw, error = np.full(300, 0.0), np.full(300, 0.05)
    yaw[:20], error[:20] = 45, 0.5
    found = compare(made_up(300, yaw=yaw, landmark_error=error), made_up(10, yaw=45))
    assert found.left_out == 20 and found.poses.missing == 10


def test_findings_agree_in_number():
    assert findings(made_up(0))[0].level == "bad"
    assert [one.text for one in findings(made_up(1))] == ["Nothing conspicuous."]
    blurred = findings(made_up(1, sharpness=0.1))
    assert blurred[0].text.startswith("1 face (100 %) has hardly a sharp edge")


def test_sheets_show_extremes_that_differ():
    one = made_up(40, yaw=np.arange(40))
    one.table.tiny[38] = one.table.tiny[39]
    assert extremes(one.table.rows["yaw"], one.table.tiny, True, 3) == [39, 37, 36]
    unknown = np.array([np.nan, 2.0, 1.0])
    assert extremes(unknown, one.table.tiny, False) == [2, 1]


@pytest.fixture
def without_dlib(monkeypatch):
    """dlib's network takes seconds to start."""
    monkeypatch.setattr("facelib.embedding.available", lambda: False)


def report(*arguments: object) -> int:
    return main.main(["util", "--no-prompt", "--report", *map(str, arguments)])


def test_the_command_writes_a_page(make_faceset, without_dlib, capsys):
    folder = make_faceset(9, name="Лица <b> & co")
    shutil.copy(folder / "00000_0.jpg", folder / "copy.jpg")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8no")
    (folder / "00001_0_debug.jpg").write_bytes(b"not looked at")
    assert report("--input-dir", folder, "--compare", make_faceset(3, name="dst")) == 0
    printed = capsys.readouterr().out
    path = folder.with_name(folder.name + "_report.html")
    text = "".join(checked(path.read_text("utf-8")).text)
    assert "Report:" in printed and "bad.jpg" in printed
    for words in ("toolkit", "Лица <b> & co", "bad.jpg", "whole_face: 10", "256 px: 10", "1 (1 group)"):
        assert words in text, words
    assert "_debug" not in text
    assert path.read_text("utf-8").count("data:image/jpeg") > 10


def test_packed_faces_and_persons(tmp_path, make_faceset, without_dlib):
    persons = tmp_path / "persons"
    persons.mkdir()
    for name in ("anna", "bob"):
        make_faceset(3, name=name).rename(persons / name)
    assert report("--input-dir", persons) == 0
    loose = (tmp_path / "persons_report.html").read_text("utf-8")
    assert "anna: 3, bob: 3" in loose and "anna/00000_0.jpg" in loose
    assert main.main(["util", "--no-prompt", "--pack-faceset", "--input-dir", str(persons)]) == 0
    assert report("--input-dir", persons) == 0
    packed = (tmp_path / "persons_report.html").read_text("utf-8")
    assert "anna: 3, bob: 3" in packed and "faceset.pak" in packed
    assert packed.count("data:image/jpeg") == loose.count("data:image/jpeg") > 0


def test_one_face_and_none(tmp_path, make_faceset, without_dlib):
    (tmp_path / "none").mkdir()
    assert report("--input-dir", tmp_path / "none") == 0
    assert report("--input-dir", make_faceset(1, name="one"), "--compare", tmp_path / "none") == 0
    for name in ("none", "one"):
        checked((tmp_path / f"{name}_report.html").read_text("utf-8"))


def test_a_page_of_the_users_stays(make_faceset, without_dlib):
    folder = make_faceset(1)
    other = folder.with_name("aligned_report.html")
    other.write_text("my own")
    assert report("--input-dir", folder) == report("--input-dir", folder) == 0
    assert other.read_text() == "my own"
    assert sorted(path.name for path in folder.parent.glob("*.html")) == [
        "aligned_report.html",
        "aligned_report_2.html",
    ]


def test_faces_stay_as_they_are(make_faceset, without_dlib):
    folder = make_faceset(3)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert report("--input-dir", folder) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_wrong_usage(tmp_path, make_faceset):
    folder = str(make_faceset(1))
    assert main.main(["util", "--input-dir", folder, "--compare", folder]) == 2
    assert report("--input-dir", folder, "--compare", tmp_path / "nothing") == 1
    assert facelib.read_face(Path(folder) / "00000_0.jpg")
