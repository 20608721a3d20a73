"""Which networks look for faces: what was asked for, or the best whose weights are here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.errors import UsageError
from facelib.detectors import DETECTORS
from facelib.face_types import face_type_spec
from facelib.landmarkers import LANDMARKERS

AUTO = "auto"
MANUAL = "manual"  # a "detector" of `extract`: rects are drawn by hand
PROFILE_TYPES = 10  # face types with this number and up take the landmarks of 3DFAN, as DFL does
WEIGHTS = {"s3fd": "S3FD", "fan": "2DFAN", "fan3d": "3DFAN"}  # network -> name in `facelib.weights`
FALLBACKS = {"s3fd": "blazeface", "fan": "facemesh", "fan3d": "facemesh"}

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class Choice:
    """Names from the tables of detectors (or `manual`) and landmarkers."""

    detector: str
    landmarker: str

    @property
    def name(self) -> str:
        return f"{self.detector}+{self.landmarker}"


def choose(
    detector: str = AUTO,
    landmarker: str = AUTO,
    face_type: str = "whole_face",
    *,
    say: Callable[[str], object] = print,
    ask: Ask | None = None,
    offer: Ask | None = None,
) -> Choice:
    """Settle on networks that can run here.

    `auto` takes S3FD and FAN where their weights are here, which is what DFL's users know, else BlazeFace and
    FaceMesh. What is asked for by name is fetched if need be, and replaced by the next best, with a word,
    where that fails.

    Args:
        detector: `auto`, `manual`, or one of `DETECTORS`.
        landmarker: `auto`, or one of `LANDMARKERS`.
        face_type: What the landmarks are for (DFL's name); for heads, `fan` means 3DFAN.
        say: Gets a line for everything that is not as it was asked for.
        ask: Puts a yes-or-no question about fetching weights that were asked for by name; None: do not fetch.
        offer: The same for weights that `auto` would like; None: do not offer them.

    Raises:
        UsageError: A name is unknown.
    """
    if detector not in (AUTO, MANUAL, *DETECTORS):
        raise UsageError(f"detector {detector!r} is unknown; choose auto, {', '.join(DETECTORS)}")
    if landmarker not in (AUTO, *LANDMARKERS):
        raise UsageError(f"landmarker {landmarker!r} is unknown; choose auto, {', '.join(LANDMARKERS)}")
    fan = "fan3d" if face_type_spec(face_type).number >= PROFILE_TYPES else "fan"
    landmarker = fan if landmarker == "fan" else landmarker
    wishes = ["s3fd"] * (detector == AUTO) + [fan] * (
        landmarker == AUTO and detector in (AUTO, MANUAL, "s3fd")
    )
    if any(network in WEIGHTS and not is_here(network) for network in (*wishes, detector, landmarker)):
        _tell_of_mistyped_folder(say)
    if offer is not None:
        _offer(wishes, offer, say)
    if detector == AUTO:
        detector = "s3fd" if is_here("s3fd") else FALLBACKS["s3fd"]
    detector = _ensured(detector, ask, say)
    if landmarker == AUTO:  # FAN expects S3FD's way of framing a face (or a user's); FaceMesh takes any
        landmarker = fan if detector in ("s3fd", MANUAL) and is_here(fan) else FALLBACKS[fan]
    return Choice(detector, _ensured(landmarker, ask, say))


def is_here(network: str) -> bool:
    """Whether a network can run without fetching its weights."""
    from facelib import weights

    return network not in WEIGHTS or weights.available(WEIGHTS[network])


def _tell_of_mistyped_folder(say: Callable[[str], object]) -> None:
    from facelib.weights import FOLDER_VARIABLE, further_folder

    folder = further_folder()
    if folder is not None and not folder.is_dir():
        say(
            f"{FOLDER_VARIABLE} names {folder}, and there is no such folder: no weights are taken from there."
        )


def _ensured(network: str, ask: Ask | None, say: Callable[[str], object]) -> str:
    """The network, or its fallback where its weights cannot be had."""
    from facelib import weights

    if is_here(network) or (ask is not None and weights.ensure(WEIGHTS[network], ask, say)):
        return network
    instead = FALLBACKS[network]
    say(
        f"The weights of {network} ({WEIGHTS[network]}) are not here: taking {instead} instead. "
        f"`main.py weights fetch {WEIGHTS[network]}` gets them."
    )
    return instead


def _offer(wishes: list[str], offer: Ask, say: Callable[[str], object]) -> None:
    """Ask once for all weights that `auto` would like and that are not here."""
    from facelib import weights

    missing = [WEIGHTS[network] for network in wishes if not is_here(network)]
    if missing and offer(f"Fetch the weights of {' and '.join(missing)}, DFL's networks (about 90 MB each)?"):
        for name in missing:
            if not weights.ensure(name, lambda _: True, say):
                return
