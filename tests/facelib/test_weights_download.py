"""Fetching weights from servers that cut, stall, lie and err."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from core.errors import SwapError
from facelib.weights import download as downloads
from facelib.weights.download import DownloadError, download
from tests.facelib import weights_tools as tools

ENTRY, CONTENT = tools.tiny()
HALF = len(CONTENT) // 2


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    tools.no_proxy(monkeypatch)
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(downloads, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(downloads, "WORTH_MENTIONING", 1000)


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Fetch the tiny entry from a server that does `acts`; gives what was said and asked for."""

    def fetch(*acts, content=CONTENT, part=b"", base=None):
        said: list[str] = []
        target = tmp_path / ENTRY.file
        if part:
            target.with_name(f"{ENTRY.file}.part").write_bytes(part)
        with tools.serving(content, *acts) as server:
            monkeypatch.setenv("FACELAB_WEIGHTS_URL", base or f"{server.url}/some/where/")
            try:
                download(ENTRY, target, said.append)
            finally:
                fetch.log, fetch.said = server.log, said
        assert target.read_bytes() == CONTENT
        assert tools.files_in(tmp_path) == [ENTRY.file]
        return said

    return fetch


def test_a_good_server_is_asked_once(fetched):
    assert fetched(tools.whole) == []
    assert fetched.log == [(f"/some/where/{ENTRY.file}", 0)]


def test_a_cut_download_goes_on_where_it_was(fetched):
    said = fetched(tools.cut_at(HALF), tools.whole)
    assert [start for _, start in fetched.log] == [0, HALF]
    assert len(said) == 1 and "trying again" in said[0]


def test_many_cuts_are_survived_as_long_as_each_brings_something(fetched):
    steps = range(20_000, len(CONTENT), 20_000)
    said = fetched(*(tools.cut_at(position) for position in steps), tools.whole)
    assert len(said) == len(steps) > downloads.TRIES


def test_a_part_of_an_earlier_run_is_used(fetched):
    assert fetched(tools.whole, part=CONTENT[:HALF]) == []
    assert [start for _, start in fetched.log] == [HALF]


def test_a_part_that_is_whole_needs_no_server(fetched):
    assert fetched(tools.status(500), part=CONTENT) == []
    assert fetched.log == []


@pytest.mark.parametrize("part", [CONTENT + b"more", b"\0" * len(CONTENT)], ids=["too long", "other bytes"])
def test_a_part_that_does_not_fit_is_fetched_anew(fetched, part):
    def answer(handler):
        handler.head(416, 0) if handler.start >= len(CONTENT) else tools.whole(handler)

    said = fetched(answer, part=part)
    assert len(said) == 1 and "anew" in said[0]


def test_a_damaged_part_is_noticed_by_the_checksum(fetched):
    said = fetched(tools.whole, part=b"\0" * HALF)
    assert [start for _, start in fetched.log] == [HALF, 0]
    assert "anew" in said[0]


def test_a_server_that_ignores_ranges_loses_nothing(fetched, tmp_path):
    with pytest.raises(DownloadError):
        fetched(tools.ignores_range(HALF // 2), part=CONTENT[:HALF])
    assert (tmp_path / f"{ENTRY.file}.part").read_bytes() == CONTENT[:HALF]  # not shorter than before
    fetched(tools.ignores_range())
    assert [start for _, start in fetched.log] == [HALF]


@pytest.mark.parametrize("act", [tools.stalls_at(HALF), tools.says_nothing(), tools.trickles])
def test_a_server_that_stalls_is_left(fetched, act):
    started = time.monotonic()
    said = fetched(act, tools.whole)
    assert time.monotonic() - started < 4
    assert len(said) == 1 and "trying again" in said[0]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(fetched, code):
    said = fetched(tools.status(code), tools.closes, tools.whole)
    assert str(code) in said[0] and len(said) == 2


def test_lengths_that_nobody_tells_are_found_out(fetched):
    assert fetched(tools.chunked) == []


def test_redirects_are_followed_with_the_range(fetched):
    said = fetched(tools.cut_at(HALF), tools.leads_to("/else"), tools.whole)
    assert len(said) == 1
    assert fetched.log[1:] == [(f"/some/where/{ENTRY.file}", HALF), ("/else", HALF)]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "/round"])
def test_redirects_elsewhere_or_in_a_circle_are_not(fetched, target, tmp_path):
    with pytest.raises(DownloadError):
        fetched(tools.leads_to(target))
    assert tools.files_in(tmp_path) == []


def test_https_is_not_left_for_http():
    redirects = downloads._Redirects()
    request = downloads.urllib.request.Request("https://one.example/a")
    with pytest.raises(downloads.urllib.error.URLError, match="from https to http"):
        redirects.redirect_request(request, None, 302, "Found", {}, "http://one.example/b")


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (tools.status(404), "404"),
        (tools.status(403), "403"),
        (tools.status(500), "500"),
        (tools.closes, "connection"),
        (tools.sends(b"<html>log in</html>"), "login page"),
        (tools.sends(b"\0" * len(CONTENT)), "another file"),
        (tools.sends(CONTENT[:-1] + b"\0"), "another file"),
        (tools.sends(b"\0" * (len(CONTENT) * 3), length=None, Connection="close"), "more than"),
        (tools.sends(b"", length=10**13), "login page"),
    ],
)
def test_a_server_without_the_file_is_one_line(fetched, tmp_path, act, reason):
    with pytest.raises(DownloadError, match=reason) as err:
        fetched(act)
    assert "\n" not in str(err.value) and "127.0.0.1" in str(err.value)
    assert ENTRY.file not in tools.files_in(tmp_path)
    assert not any(
        "part" in name and (tmp_path / name).stat().st_size == 0 for name in tools.files_in(tmp_path)
    )


def test_what_came_is_kept_and_told(fetched, tmp_path):
    with pytest.raises(DownloadError, match=r"0\.1 MB are kept"):
        fetched(tools.cut_at(HALF), tools.status(404))
    assert (tmp_path / f"{ENTRY.file}.part").read_bytes() == CONTENT[:HALF]


def test_without_a_network_it_is_known_at_once(fetched):
    started = time.monotonic()
    for base in ("http://127.0.0.1:9", "http://no-such-host.invalid"):
        with pytest.raises(DownloadError, match="cannot be reached"):
            fetched(tools.whole, base=base)
    assert time.monotonic() - started < 10


def test_two_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    target = tmp_path / ENTRY.file
    with tools.serving(CONTENT, tools.stalls_at(HALF, 0.3), tools.whole) as server:
        monkeypatch.setenv("FACELAB_WEIGHTS_URL", server.url)
        first = threading.Thread(target=download, args=(ENTRY, target, lambda _: None))
        first.start()
        while not server.log:
            time.sleep(0.01)
        with pytest.raises(DownloadError, match="another program"):
            download(ENTRY, target, lambda _: None)
        first.join()
    assert target.read_bytes() == CONTENT


def test_a_full_disk_names_the_file_and_keeps_what_came(fetched, tmp_path, monkeypatch):
    written = []

    def write(file, block):
        written.append(file.write(block))
        if sum(written) > HALF:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "_write_all", write)
    with pytest.raises(OSError) as err:
        fetched(tools.whole)
    assert err.value.filename == str(tmp_path / f"{ENTRY.file}.part")
    assert (tmp_path / f"{ENTRY.file}.part").stat().st_size > HALF
    monkeypatch.undo()
    tools.no_proxy(monkeypatch)
    fetched(tools.whole)


def test_a_stopped_program_keeps_what_came(fetched, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        fetched(tools.cut_at(HALF))
    assert tools.files_in(tmp_path) == [f"{ENTRY.file}.part"]


def test_other_addresses_than_http_are_refused(tmp_path, monkeypatch):
    for address in ("file:///tmp", "ftp://host/", "host/path"):
        monkeypatch.setenv("FACELAB_WEIGHTS_URL", address)
        with pytest.raises(SwapError, match="http"):
            download(ENTRY, tmp_path / ENTRY.file)
