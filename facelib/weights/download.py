"""Fetch one weight file over HTTP: goes on where it was cut off, believes nothing but the checksums.

What has arrived is kept in `<file>.part`. The next try asks for the rest (`Range`); a server that ignores
this sends all from the start, which then goes over the same bytes in place, so that even there nothing is
lost when the connection is cut once more. Only a whole file with the pinned checksums takes its place.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from core.errors import SwapError
from core.interact.progress import BYTES, Progress
from core.storage import naming, sync_directory
from facelib.weights.contents import Digests, digests_of, git_blob_hash
from facelib.weights.registry import WeightFile

STALL_SECONDS = 30.0  # without an answer, or with less than a trickle
TRICKLE = 1024  # bytes per second below which a connection counts as stalled
TRIES = 4  # in a row that brought nothing worth mentioning
WORTH_MENTIONING = 1 << 20  # bytes
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
BLOCK = 1 << 16

Say = Callable[[str], None]
OpenProgress = Callable[..., Progress]


class DownloadError(SwapError):
    """The file could not be fetched; what has arrived is kept."""


class _Interrupted(Exception):
    """This try failed, the next may not."""


class _Refused(Exception):
    """This address does not have the file."""


class _DoesNotFit(Exception):
    """The server has nothing at the position that was asked for."""


def download(
    entry: WeightFile, target: Path, say: Say = print, open_progress: OpenProgress = Progress
) -> Digests:
    """Fetch `entry` and put it at `target` once its checksums are right.

    Args:
        entry: Says the addresses and how the file is recognised.
        target: In an existing folder; a file there is replaced.
        say: Receives a line when a try failed.
        open_progress: Makes the display, called as `Progress` is.

    Raises:
        DownloadError: No address gave the genuine file.
        OSError: The disk is full or fails; names the file.
    """
    part = target.with_name(f"{target.name}.part")
    with _locked(part, entry) as file, naming(part):
        digests = _fetch(entry, file, say, open_progress)
        os.fsync(file.fileno())
        if os.name == "posix":  # while we still hold the lock
            os.replace(part, target)
    if os.name != "posix":  # an open file cannot be renamed there
        os.replace(part, target)
    sync_directory(target.parent)
    return digests


def _fetch(entry: WeightFile, file: BinaryIO, say: Say, open_progress: OpenProgress) -> Digests:
    """Fill `file` from one address or the other until its checksums are right."""
    if entry.has_plausible_size(_length(file)):  # all had arrived when the program was ended
        digests = _digests(file)
        if digests.are_genuine(entry):
            return digests
    problems = []
    for url in entry.urls:
        try:
            return _fetch_from(url, entry, file, say, open_progress)
        except _Refused as err:
            problems.append(f"{urlsplit(url).netloc}: {err}")
    kept = _length(file)
    more = f"{_megabytes(kept)} are kept, the same command goes on there; " if kept else ""
    raise DownloadError(
        f"{entry.file} could not be fetched ({'; '.join(problems)}); {more}check the network and try again, "
        f"or get the file elsewhere and give it to: main.py weights import {entry.file}"
    )


def _fetch_from(
    url: str, entry: WeightFile, file: BinaryIO, say: Say, open_progress: OpenProgress
) -> Digests:
    """Try one address, again and again as long as that brings something."""
    tries = 0
    while True:
        before = _length(file)
        try:
            digests = _try_once(url, entry, file, open_progress)
            if digests.are_genuine(entry):
                return digests
            file.truncate(0)
            what = f"{digests.size} bytes with the SHA-256 {digests.sha256[:12]}... instead of"
            problem = f"what it sent is another file ({what} {entry.sha256[:12]}...)"
            if not before:
                raise _Refused(problem)
            problem += ", or the part that was there before is damaged; all anew"
        except _Interrupted as err:
            problem = str(err)
        tries = 1 if _length(file) - before >= WORTH_MENTIONING else tries + 1
        if tries >= TRIES:
            raise _Refused(f"{problem}, {tries} times")
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1))
        say(f"{entry.name}: {problem}; trying again in {wait:.0f} s")
        time.sleep(wait)


def _try_once(url: str, entry: WeightFile, file: BinaryIO, open_progress: OpenProgress) -> Digests:
    """One request, its answer written to `file`; returns the checksums of the whole."""
    start = _length(file)
    request = urllib.request.Request(url, headers={"User-Agent": "facelab", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = _open(request)
    except _DoesNotFit:
        file.truncate(0)
        raise _Interrupted("the part that is here does not fit what is there; all anew") from None
    with response:
        if response.status == 206:
            start, total = _content_range(response, start)
        else:  # the whole, also where only the rest was asked for
            start, total = 0, _content_length(response)
        if total is not None and not entry.has_plausible_size(total):
            raise _Refused(
                f"it sends {total} bytes, about {entry.data_bytes} belong there; "
                "does a login page of the network stand in between?"
            )
        with open_progress(f"Fetching {entry.name}", total or entry.data_bytes, BYTES, start) as progress:
            return _receive(response, entry, file, start, total, progress)


def _receive(
    response: http.client.HTTPResponse,
    entry: WeightFile,
    file: BinaryIO,
    start: int,
    total: int | None,
    progress: Progress,
) -> Digests:
    """Write the body to `file` from `start` on, hashing; returns the checksums of the whole."""
    sha256, git_sha1 = hashlib.sha256(), git_blob_hash(total or 0)
    for block in _blocks(file, start):
        sha256.update(block)
        git_sha1.update(block)
    file.seek(start)
    position, limit = start, total or entry.size_limits[1]
    for block in _body(response):
        if position + len(block) > limit:
            raise _Refused(f"it sends more than the {limit} bytes that belong there")
        _write_all(file, block)
        sha256.update(block)
        git_sha1.update(block)
        position += len(block)
        progress.update(len(block))
    if position < (total or entry.size_limits[0]):
        raise _Interrupted(f"the connection was closed after {_megabytes(position)}")
    file.truncate(position)
    if total is None:  # git's hash begins with the length, which nobody had told
        return _digests(file)
    return Digests(position, sha256.hexdigest(), git_sha1.hexdigest())


def _body(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes in; a trickle is as good as silence."""
    since, received = time.monotonic(), 0
    while True:
        with _network_errors_named():
            block = response.read1(BLOCK)
        if not block:
            return
        yield block
        received += len(block)
        waited = time.monotonic() - since
        if waited > STALL_SECONDS:
            if received < TRICKLE * waited:
                raise _Interrupted(f"only {received} bytes came in {waited:.0f} s")
            since, received = time.monotonic(), 0


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Send the request and wait for the head of the answer."""
    with _network_errors_named():
        try:
            return _OPENER.open(request, timeout=STALL_SECONDS)
        except urllib.error.HTTPError as err:
            err.close()
            if err.code == 416 and request.has_header("Range"):
                raise _DoesNotFit from err
            kind = _Interrupted if err.code in (408, 425, 429) or err.code >= 500 else _Refused
            raise kind(f"it answers {err.code} {_words(err.reason)}") from err
        except urllib.error.URLError as err:
            if isinstance(err.reason, OSError):
                raise err.reason from err
            raise _Refused(_words(err.reason)) from err


@contextlib.contextmanager
def _network_errors_named() -> Iterator[None]:
    """Turn the errors of a connection into those that say whether another try makes sense."""
    try:
        yield
    except TimeoutError as err:
        raise _Interrupted(f"nothing came for {STALL_SECONDS:.0f} s") from err
    except (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError) as err:
        raise _Refused(f"it cannot be reached ({_words(err)})") from err
    except (http.client.HTTPException, OSError) as err:
        if isinstance(err, OSError) and err.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            raise _Refused(f"it cannot be reached ({_words(err)})") from err
        raise _Interrupted(f"the connection broke ({_words(err)})") from err


def _words(err: object) -> str:
    text = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
    return " ".join(text.split()) or type(err).__name__


def _content_range(response: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """First byte and total length that a partial answer announces."""
    found = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", response.headers["Content-Range"] or "")
    if found is None or int(found[1]) > asked:
        raise _Refused("it sends another part than the one asked for")
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _content_length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers["Content-Length"] or ""
    return int(text) if text.isdecimal() else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to anything else, nor to files of this machine."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise urllib.error.URLError(f"it leads from {before} to {after}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


@contextlib.contextmanager
def _locked(part: Path, entry: WeightFile) -> Iterator[BinaryIO]:
    """`part`, made if need be, open for reading and writing by nobody else; an empty one is removed again."""
    part.touch()
    with part.open("r+b", buffering=0) as file:
        # whoever had the lock before may have given the file its final name meanwhile
        if not _lock(file) or not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            raise DownloadError(f"{part}: another program is fetching {entry.name} just now; wait for it")
        try:
            yield file
        finally:
            if os.name == "posix" and _length(file) == 0:
                part.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> bool:
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            file.seek(1 << 40)  # far behind the content, which the lock would keep others from reading
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
    except OSError:
        return False
    return True


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _blocks(file: BinaryIO, end: int) -> Iterator[bytes]:
    """The first `end` bytes of the file."""
    file.seek(0)
    while end > 0 and (block := file.read(min(end, 1 << 20))):
        end -= len(block)
        yield block


def _digests(file: BinaryIO) -> Digests:
    return digests_of(Path(file.name))


def _write_all(file: BinaryIO, block: bytes) -> None:
    """An unbuffered write may stop short on a disk that fills; the next one then says so."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
