"""The report as one HTML page that needs nothing else: no script, no file, no network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np

from samplelib.report import charts
from samplelib.report.coverage import ENOUGH, REACH, RangeCoverage
from samplelib.report.findings import Comparison, Finding, Study, findings
from samplelib.report.sheets import Sheet
from samplelib.report.statistics import common_edges, histogram, pose_counts, smaller_than, spread
from samplelib.report.style import STYLE
from samplelib.report.wording import counted, number, percent, printable

MARK = "facelab util --report"  # by which a page of ours is known
BINS = 24
LISTED = 50  # names of files
_WORDS = {"good": "Good", "note": "Note", "bad": "Act"}
# The browser itself is told to fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# title, field, unit, lowest, highest, least span, digits, explanation
SPREADS = (
    ("Sharpness", "sharpness", "", 0.0, 1.0, 0.4, 2,
     "Share of edges that look sharp, with every face brought to one size: 1 sharp, 0 blurred."),
    ("Brightness", "brightness", "", 0.0, 255.0, 80.0, 0,
     "Mean grey level inside the face's outline, 0 to 255."),
    ("Light from the side", "side_light", "", -1.0, 1.0, 0.2, 2,
     "Above 0 the half on the viewer's left is brighter, below 0 the other."),
    ("Size in the film", "crop_side", " px", 0.0, 1e9, 200.0, 0,
     "Width in the frame, in pixels, of what became the stored face."),
    ("Source rectangle", "rect_side", " px", 0.0, 1e9, 200.0, 0,
     "Root of the area that the detector marked in the frame, in pixels."),
)  # fmt: skip

Pictures = Mapping[int, str]  # face -> address of its thumbnail


def build_page(
    studies: Sequence[Study],
    sheets: Sequence[Sequence[Sheet]],
    pictures: Sequence[Pictures],
    comparison: Comparison | None,
    made: str,
) -> str:
    """The page.

    Args:
        studies: One faceset, or a source and its destination.
        sheets: The contact sheets of each.
        pictures: Their thumbnails.
        comparison: Of the two, if both have faces.
        made: When, to show.
    """
    title = " and ".join(_show(one.title) for one in studies)
    parts = [f"<h1>Faceset report</h1><p class='lead'>{title}</p>"]
    parts.append(f"<p class='made'>Made by the face-replacement toolkit (util --report), {_show(made)}.</p>")
    roles = ("Source", "Destination") if len(studies) == 2 else ("Faceset",)
    parts.append(_navigation(roles))
    if len(studies) == 2:
        parts.append(_comparison(studies, comparison))
    for place, (role, one) in enumerate(zip(roles, studies)):
        parts.append(_faceset(place, role, one, sheets[place], pictures[place]))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="{MARK}">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Faceset report: {title}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _show(text: str) -> str:
    return html.escape(printable(text))


def _navigation(roles: Sequence[str]) -> str:
    links = [("#verdict", "Verdict")] if len(roles) == 2 else []
    links += [(f"#set{place}", role) for place, role in enumerate(roles)]
    return "<nav>" + " ".join(f'<a href="{to}">{name}</a>' for to, name in links) + "</nav>"


def _comparison(studies: Sequence[Study], comparison: Comparison | None) -> str:
    names = [_show(one.title) for one in studies]
    head = (
        '<section id="verdict"><h2>Does the source cover the destination?</h2>'
        f"<p>Source (who is put in): <b>{names[0]}</b>. Destination (the film): <b>{names[1]}</b>.</p>"
    )
    if comparison is None:
        empty = " and ".join(name for name, one in zip(names, studies) if not len(one.table))
        return f"{head}<p>There are no faces in {empty}; nothing can be compared.</p></section>"
    poses = comparison.poses
    good = len(poses.near) - poses.missing - poses.thin
    told = (
        f"Of {counted(len(poses.near), 'destination face')}, {good:,} have {ENOUGH} source faces or more "
        f"within {REACH}°, {poses.thin:,} have fewer, {poses.missing:,} have none."
    )
    caption = (
        "<b>Coverage of poses.</b> In each cell: destination faces, and below them source faces. "
        '<span class="key missing">✕ missing</span> <span class="key thin">! in part, or few</span> '
        '<span class="key covered">covered</span> <span class="key spare">source only</span> '
        f"Each face is judged by the source faces within {REACH}° of it, in whatever cell; a cell is missing "
        "if half of its faces or more are. "
    )
    if comparison.left_out:
        told += f" {counted(comparison.left_out, 'suspect')} of the source did not count."
    parts = [head, _finding_list(comparison.verdict)]
    parts.append(_figure(charts.coverage_map(poses, told), caption + _show(told)))
    parts.append("<div class='grid'>")
    for spread_of in SPREADS:
        parts.append(_spread_figure(studies, *spread_of))
    parts.append("</div>")
    parts.append(_ranges(comparison))
    return "".join(parts) + "</section>"


def _ranges(comparison: Comparison) -> str:
    rows = []
    for name, one, digits in (
        ("Brightness", comparison.brightness, 0),
        ("Light from the side", comparison.side_light, 2),
    ):
        rows.append([name, *_range_cells(one, digits)])
    return _table(
        "Light of the two", ["", "source", "destination", "destination faces outside of the source's"], rows
    )


def _range_cells(one: RangeCoverage, digits: int) -> list[str]:
    source = f"{number(one.src_low, digits)} to {number(one.src_high, digits)}"
    destination = f"{number(one.dst_low, digits)} to {number(one.dst_high, digits)}"
    return [source, destination, f"{one.outside:,} ({percent(one.outside, one.known)})"]


def _faceset(place: int, role: str, one: Study, sheets: Sequence[Sheet], pictures: Pictures) -> str:
    parts = [f'<section id="set{place}"><h2>{role}: {_show(one.title)}</h2>']
    parts += [f"<p>{_show(note)}</p>" for note in one.table.notes]
    parts += [_finding_list(findings(one)), _counts(one)]
    if len(one.table):
        counts = pose_counts(one.table.rows["yaw"], one.table.rows["pitch"])
        told = charts.describe_poses(one.table.rows["yaw"], one.table.rows["pitch"], counts)
        parts.append(_figure(charts.pose_map(counts, told), f"<b>Where the faces look.</b> {_show(told)}"))
        parts.append("<div class='grid'>")
        for spread_of in SPREADS:
            parts.append(_spread_figure([one], *spread_of))
        parts.append(f"</div>{_resolution(one)}")
        parts.append(f"<h3>How suspects were found</h3><p>{_show(one.suspicion.method)}</p>")
        parts += [_sheet(one, sheet, pictures) for sheet in sheets]
    parts.append(_files("Files that cannot be read", one.table.unreadable))
    parts.append(_files("Images without usable face data", one.table.foreign))
    return "".join(parts) + "</section>"


def _finding_list(found: Sequence[Finding]) -> str:
    lines = [
        f'<li class="{one.level}"><b>{_WORDS[one.level]}</b> <span>{_show(one.text)}</span></li>'
        for one in found
    ]
    return f'<ul class="findings">{"".join(lines)}</ul>'


def _counts(one: Study) -> str:
    counts = one.counts
    rows = [
        ["Images", f"{counts.images:,}"],
        ["Faces", f"{counts.faces:,}"],
        ["Images without usable face data", f"{counts.foreign:,}"],
        ["Files that cannot be read", f"{counts.unreadable:,}"],
        ["Frames they come from", f"{counts.frames:,}"],
        ["Frames with several faces", _with(counts.crowded, counted(counts.in_crowds, "face"))],
        ["Faces that do not name their frame", f"{counts.without_source:,}"],
        ["With an applied mask", f"{counts.masks:,}"],
        ["With drawn mask polygons", f"{counts.polys:,}"],
        ["Next to identical with another", _with(one.spare, counted(len(one.groups), "group"))],
        ["Suspects", f"{len(one.suspicion.suspects):,}"],
        ["Face types", _tally(counts.face_types, "")],
        ["Stored sizes", _tally(counts.sizes, " px")],
    ]
    if counts.persons:
        rows.append(["Persons", _tally(counts.persons, "")])
    return _table("Counts", None, rows)


def _with(some: int, details: str) -> str:
    return f"{some:,} ({details})" if some else "0"


def _tally(some: Mapping, unit: str) -> str:
    shown = [f"{key}{unit}: {value:,}" for key, value in list(some.items())[:8]]
    more = len(some) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "") or "none"


def _resolution(one: Study) -> str:
    known = int(np.isfinite(one.table.rows["crop_side"]).sum())
    if not known:
        return "<p>The faces do not say how large they were in their frames.</p>"
    smaller = smaller_than(one.table.rows["crop_side"])
    rows = [[f"{side}", f"{some:,} ({percent(some, known)})"] for side, some in smaller.items()]
    note = (
        "Faces with fewer pixels in the film than a network of this resolution is fed: they are enlarged, "
        "which adds no detail."
    )
    return _table("Enough pixels?", ["network's resolution", "smaller faces"], rows, note)


def _spread_figure(
    studies: Sequence[Study],
    title: str,
    name: str,
    unit: str,
    low: float,
    high: float,
    least: float,
    digits: int,
    explanation: str,
) -> str:
    values = [one.table.rows[name] for one in studies]
    edges = common_edges(values, BINS, low, high, least)
    roles = ("source", "destination") if len(studies) == 2 else ("faces",)
    told = []
    for role, part in zip(roles, values):
        some = spread(part)
        unknown = len(part) - some.count
        median, tenth, ninetieth = (
            number(value, digits) for value in (some.median, some.tenth, some.ninetieth)
        )
        text = f"{role}: median {median}{unit}, eight of ten between {tenth} and {ninetieth}{unit}"
        if not some.count:
            text = f"{role}: unknown"
        told.append(text + (f" ({counted(unknown, 'face')} without)" if unknown and some.count else ""))
    words = f"{'; '.join(told)}."
    words = words[0].upper() + words[1:]
    keys = (
        "<span class='key bar0'>source</span> <span class='key bar1'>destination</span> "
        if len(studies) == 2
        else ""
    )
    picture = charts.bars(
        [histogram(part, edges) for part in values], edges, roles, f"{title}. {words}", unit
    )
    return _figure(picture, f"<b>{title}.</b> {_show(explanation)} {keys}{_show(words)}")


def _sheet(one: Study, sheet: Sheet, pictures: Pictures) -> str:
    cells = []
    for face, caption in zip(sheet.faces, sheet.captions):
        name = _show(one.table.items[face].name)
        picture = pictures.get(face)
        shown = f'<img src="{picture}" alt="{name}">' if picture else "<span class='gone'>gone</span>"
        cells.append(f"<li>{shown}<span>{_show(caption)}</span><small>{name}</small></li>")
    return f"<h3>{_show(sheet.title)}</h3><p>{_show(sheet.text)}</p><ul class='sheet'>{''.join(cells)}</ul>"


def _files(title: str, reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    rows = [[_show(name), _show(reason)] for name, reason in list(reasons.items())[:LISTED]]
    if len(reasons) > LISTED:
        rows.append([f"and {len(reasons) - LISTED:,} more", ""])
    return _table(title, ["file", "what is wrong"], rows, escaped=True)


def _table(
    title: str,
    heads: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    note: str = "",
    escaped: bool = False,
) -> str:
    show = (lambda text: text) if escaped else _show
    head = ""
    if heads:
        head = "<tr>" + "".join(f"<th scope='col'>{_show(name)}</th>" for name in heads) + "</tr>"
    lines = [
        f"<tr><th scope='row'>{show(row[0])}</th>"
        + "".join(f"<td>{show(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    ]
    told = f"<p>{_show(note)}</p>" if note else ""
    return f"<h3>{_show(title)}</h3>{told}<table>{head}{''.join(lines)}</table>"


def _figure(picture: str, caption: str) -> str:
    return f"<figure><div class='scroll'>{picture}</div><figcaption>{caption}</figcaption></figure>"
