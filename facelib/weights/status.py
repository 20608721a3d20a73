"""What a user is told about the weights on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import FileFormatError
from facelib.weights.contents import digests_of, read_copy, read_source, size_limit
from facelib.weights.registry import weight_file
from facelib.weights.store import Place, filled_place, places


@dataclass(frozen=True)
class Status:
    """One row of the list, in words."""

    present: str
    size: str
    verified: str
    where: str


def status_of(name: str) -> Status:
    """Look for the weights `name` and read them through: a second for each."""
    entry = weight_file(name)
    place = filled_place(entry)
    if place is not None:
        return _status_of_place(place)
    for place in places(entry):
        if place.part.is_file():
            arrived = place.part.stat().st_size
            return Status("in part", f"{_size(arrived)} of {_size(entry.data_bytes)}", "-", str(place.part))
    return Status("no", _size(entry.data_bytes), "-", "-")


def _status_of_place(place: Place) -> Status:
    entry, origin = place.entry, place.origin()
    if not place.has_source():
        tensors = read_copy(place.copy, entry, origin) if origin else None
        if tensors is None:
            return Status("damaged", _size(place.copy.stat().st_size), "no", str(place.copy))
        verified = "yes" if origin.genuine else "no"
        return Status("yes", _size(place.copy.stat().st_size), verified, str(place.copy))
    if place.source.stat().st_size > size_limit(entry):
        wanted = f"{_size(place.source.stat().st_size)} of {_size(entry.data_bytes)}"
        return Status("damaged", wanted, "no", str(place.source))
    digests = digests_of(place.source)
    size, where = _size(digests.size), str(place.source)
    if digests.are_genuine(entry):
        return Status("yes", size, "yes", where)
    try:
        read_source(place.source, entry)
    except FileFormatError:
        return Status("damaged", size, "no", where)
    accepted = origin is not None and origin.accepted and origin.source_sha256 == digests.sha256
    return Status("yes" if place.takes_any or accepted else "not used", size, "no", where)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
