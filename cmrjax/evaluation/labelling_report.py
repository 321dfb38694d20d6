"""The report of a labelling of real images: tables, and the subjects that look wrong.

The page embeds the excerpts of the gravest subjects and links to the montages beside
it.
"""

import html
import math
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrjax.evaluation.labelling_flags import (
    CRITERIA,
    by_gravity,
    find_flags,
    flag_summary,
    mid_heart_dice,
)
from cmrjax.evaluation.labelling_summary import (
    HELD_OUT,
    PROTOCOL,
    Row,
    dice_table,
    find_dice,
    mean,
    write_rows,
    write_summary,
)
from cmrjax.evaluation.report import (
    figure,
    legend,
    paragraphs,
    settings_table,
    table,
    write_page,
)
from cmrjax.labels import HEART_CLASSES, LabelSchema
from cmrjax.segmentation.agreement import LEVELS, REGIONS

MAX_PICTURES = 24  # about 0.3 MB each
NOTICE = (
    "Labels made by a network, for research and training only: not for diagnosis or "
    "any other clinical use."
)
_SCOPE_TITLES = {
    "mid": "mid-ventricular slices",
    "all": "all slices with heart",
    "stack": "all slices of the files",
}
MONTAGES = "montages"


def write_labelling_report(
    folder: str | Path,
    rows: Sequence[Row],
    *,
    schema: LabelSchema,
    settings: Mapping[str, Any],
    problems: Sequence[str],
    excerpt: Callable[[str], bytes],
) -> dict[str, Any]:
    """Writes labelling.csv, summary.json and report.html.

    Args:
        folder: The folder; its ``montages/SUBJECT.png`` are linked to.
        rows: All slices, see ``labelling_summary``; at least one.
        schema: Schema of the labels.
        settings: What the labels were made with.
        problems: Lines about what could not be used.
        excerpt: Gives the PNG of a subject that is embedded if it is flagged.

    Returns:
        The content of summary.json.
    """
    folder = Path(folder)
    subjects: dict[str, list[Row]] = {}
    for row in rows:
        subjects.setdefault(row["subject"], []).append(row)
    flags = find_flags(rows, schema)
    dice = {code: mid_heart_dice(own) for code, own in subjects.items()}
    order = by_gravity(flags, dice)
    entries = dice_table(rows)
    summary = {
        "subjects": len(subjects),
        "slices_kept": sum(row["kept"] for row in rows),
        "dice": entries,
        "flagged": flag_summary(flags, order),
        "problems": list(problems),
        "settings": dict(settings),
    }
    write_rows(folder / "labelling.csv", rows)
    write_summary(folder / "summary.json", summary)
    body = [
        paragraphs(_intro(summary)),
        *_dice_section(entries),
        "<h2>Levels of the heart</h2>",
        _level_table(rows),
        "<h2>Class fractions</h2>",
        "<p>Percent of the valid pixels of the kept slices, mean over slices.</p>",
        _fraction_table(rows, schema),
        *_flag_section(summary["flagged"], schema, excerpt),
        "<h2>All subjects</h2>",
        _subject_table(subjects, order, flags, dice),
        "<h2>Problems</h2>",
        paragraphs("\n\n".join(problems) or "None."),
        "<h2>Settings</h2>",
        settings_table(settings),
    ]
    title = "Labels of all tissues on real images"
    write_page(folder / "report.html", title=title, notice=NOTICE, body=body)
    return summary


def closing_lines(summary: Mapping[str, Any]) -> list[str]:
    """Returns what is said at the end: Dice of the held-out subjects, flags."""
    lines = []
    for scope in ("mid", "all"):
        chosen = find_dice(
            summary["dice"], group="all", split=HELD_OUT, phase="both", scope=scope
        )
        if chosen:
            parts = [f"{e['region']} {_number(e['dice_slices'])}" for e in chosen]
            lines.append(
                f"network's own heart, held-out subjects, {_SCOPE_TITLES[scope]}: Dice"
                f" {', '.join(parts)}"
            )
    count = len(summary["flagged"])
    lines.append(f"look wrong: {count} of {summary['subjects']} subjects")
    return lines


def _intro(summary: Mapping[str, Any]) -> str:
    text = (
        f"{summary['subjects']} subjects, {summary['slices_kept']} slices with heart, "
        f"{len(summary['flagged'])} subjects that look wrong, "
        f"{len(summary['problems'])} problems."
    )
    if not summary["dice"]:
        return (
            f"{text}\n\nThere is no expert to compare with: the heart is the network's."
        )
    return f"{text}\n\n{PROTOCOL}"


def _flag_section(
    flagged: Sequence[Mapping[str, Any]],
    schema: LabelSchema,
    excerpt: Callable[[str], bytes],
) -> list[str]:
    """The subjects that look wrong, the gravest ones with pictures."""
    text = f"{len(flagged)} subjects. A subject is listed if {CRITERIA}."
    if len(flagged) > MAX_PICTURES:
        text += f" Pictures of the first {MAX_PICTURES} are shown."
    pictures = [
        figure(f"{f['subject']}: {'; '.join(f['reasons'])}", excerpt(f["subject"]))
        for f in flagged[:MAX_PICTURES]
    ]
    title = "<h2>Subjects that look wrong</h2>"
    return [title, f"<p>{html.escape(text)}</p>", legend(schema), *pictures]


def _dice_section(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table per scope: mean over slices, standard deviation, volume Dice."""
    parts = ["<h2>The network's own heart against the expert's</h2>"] if entries else []
    titles = ("Group", "Split", "Phase", "Subjects", *REGIONS)
    for scope, title in _SCOPE_TITLES.items():
        chosen = find_dice(entries, scope=scope)
        lines: dict[tuple, list[Any]] = {}
        for e in chosen:
            if e["split"] == HELD_OUT and e["group"] != "all":
                continue  # of one group it is one split, which has its own line
            key = (e["group"], e["split"].replace("_", " "), e["phase"])
            line = lines.setdefault(key, [*key, 0])
            line[3] = max(line[3], e["subjects"])
            text = f"{_number(e['dice_slices'])} \N{PLUS-MINUS SIGN}"
            text += f" {_number(e['sd_slices'])} (vol {_number(e['dice_volume'])})"
            line.append(text)
        if lines:
            parts += [f"<h3>Dice, {title}</h3>", _rows_table(titles, lines.values())]
    return parts


def _level_table(rows: Sequence[Row]) -> str:
    """By group and level: agreement and form of the network's heart."""
    titles = ("Group", "Level", "Slices", *(f"Dice {n}" for n in HEART_CLASSES))
    titles += tuple(f"{n} in one piece" for n in HEART_CLASSES)
    titles += ("LV rim in MYO", "Pixels in disagreement")
    lines = []
    for group in sorted({row["group"] for row in rows}):
        for level in LEVELS:
            chosen = [
                r
                for r in rows
                if r["kept"] and r["level"] == level and r["group"] == group
            ]
            if not chosen:
                continue
            line = [group, level, len(chosen)]
            line += [
                _number(mean(r[f"dice_{n}"] for r in chosen)) for n in HEART_CLASSES
            ]
            for name in HEART_CLASSES:
                whole = sum(r[f"components_{name}"] == 1 for r in chosen)
                line.append(f"{whole / len(chosen):.0%}")
            line.append(_number(mean(r["lv_enclosed"] for r in chosen)))
            apart = mean(r["disagreement_pixels"] for r in chosen)
            line.append("\N{EN DASH}" if math.isnan(apart) else f"{apart:.0f}")
            lines.append(line)
    return _rows_table(titles, lines)


def _fraction_table(rows: Sequence[Row], schema: LabelSchema) -> str:
    lines = []
    for group in sorted({row["group"] for row in rows}):
        chosen = [row for row in rows if row["group"] == group]
        shares = [mean(r[f"fraction_{n}"] for r in chosen) for n in schema.class_names]
        lines.append([group, *(f"{100 * share:.2f}" for share in shares)])
    names = [name.replace("_", " ") for name in schema.class_names]
    return _rows_table(("Group", *names), lines)


def _subject_table(
    subjects: Mapping[str, Sequence[Row]],
    order: Sequence[str],
    flags: Mapping[str, Sequence[str]],
    dice: Mapping[str, float],
) -> str:
    titles = ("Subject", "Group", "Split", "Slices", "Heart Dice, mid", "Looks wrong")
    lines = []
    for code in order:
        first = subjects[code][0]
        kept = sum(row["kept"] for row in subjects[code])
        link = f"{MONTAGES}/{urllib.parse.quote(code)}.png"
        anchor = f'<a href="{html.escape(link)}">{html.escape(code)}</a>'
        cells = [first["group"], first["split"], kept, _number(dice[code])]
        cells.append("; ".join(flags[code]))
        lines.append(f"<tr><td>{anchor}</td>{_cells(cells)}</tr>")
    return table(_head(titles), lines)


def _rows_table(titles: Sequence[str], lines: Any) -> str:
    return table(_head(titles), [f"<tr>{_cells(line)}</tr>" for line in lines])


def _head(titles: Sequence[str]) -> str:
    cells = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    return f"<tr>{cells}</tr>"


def _cells(values: Sequence[Any]) -> str:
    return "".join(f"<td>{html.escape(str(value))}</td>" for value in values)


def _number(value: float) -> str:
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.3f}"
