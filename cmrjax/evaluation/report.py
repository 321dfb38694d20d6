"""One self-contained HTML page: figures of merit, pictures inside, settings.

Standard-library templating. The page needs nothing beside it: pictures are embedded as
base64, there is no script, and its content policy forbids loading anything.
"""

import base64
import html
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.evaluation.figures import label_colours, png_bytes
from cmrjax.files import write_bytes
from cmrjax.labels import LabelSchema
from cmrjax.metrics.image_quality import PROTOCOL

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NOT_FOR_DIAGNOSIS = (
    "Synthetic images, for research and training only: not for diagnosis or any other "
    "clinical use."
)

_PAGE = string.Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.notice { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .5rem 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .8rem; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.setting { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figcaption { color: #555; }
img { max-width: 100%; height: auto; }
ul.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap;
  gap: .2rem 1.2rem; }
ul.legend span { display: inline-block; width: 1em; height: 1em; margin-right: .4em;
  border: 1px solid #888; vertical-align: -.1em; }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="notice">$notice</p>
$body
</main>
</body>
</html>
""")


def write_report(
    path: str | Path,
    *,
    title: str,
    intro: str,
    metrics: Iterable[Sequence[Any]],
    pictures: Iterable[tuple[str, Any]],
    settings: Mapping[str, Any],
    schema: LabelSchema | None = None,
    protocol: str = PROTOCOL,
) -> Path:
    """Writes one self-contained HTML page, whole or not at all.

    All text is escaped.

    Args:
        path: HTML file to write; an existing one is replaced.
        title: heading of the page.
        intro: what was run; an empty line begins a new paragraph.
        metrics: rows (name, value of the model, value of the class-mean image). A
            float is written with four digits, a string as it is, None as a dash.
        pictures: pairs (caption, picture), the picture either the bytes of a PNG file
            or [h, w, 3] uint8 RGB.
        settings: name -> value, shown as a table; values other than text as JSON.
        schema: label schema for the legend of colours; no legend without.
        protocol: how the figures were measured.

    Returns:
        The path.

    Raises:
        ValueError: if a metrics row has not three entries, or a picture is neither PNG
            bytes nor [h, w, 3] uint8.
    """
    body = [
        paragraphs(intro),
        "<h2>Figures of merit</h2>",
        _metrics_table(metrics),
        f"<p><small>{html.escape(protocol)}</small></p>",
        "<h2>Pictures</h2>",
        "" if schema is None else legend(schema),
        *(figure(caption, data) for caption, data in pictures),
        "<h2>Settings</h2>",
        settings_table(settings),
    ]
    return write_page(path, title=title, notice=NOT_FOR_DIAGNOSIS, body=body)


def write_page(
    path: str | Path, *, title: str, notice: str, body: Iterable[str]
) -> Path:
    """Writes a page of given parts, whole or not at all.

    Args:
        path: HTML file to write; an existing one is replaced.
        title: heading of the page, plain text.
        notice: what has to be said first, plain text.
        body: the parts, HTML.

    Returns:
        The path.
    """
    page = _PAGE.substitute(
        title=html.escape(title), notice=html.escape(notice), body="\n".join(body)
    )
    write_bytes(path, page.encode("utf-8"))
    return Path(path)


def paragraphs(text: str) -> str:
    """HTML of plain text; an empty line begins a new paragraph."""
    parts = [part.strip() for part in text.split("\n\n") if part.strip()]
    return "\n".join(f"<p>{html.escape(part)}</p>" for part in parts)


def _metrics_table(rows: Iterable[Sequence[Any]]) -> str:
    """HTML of the table name | model | class-mean image."""
    lines = []
    for row in rows:
        if len(row) != 3:
            raise ValueError(
                "each metrics row must be (name, model value, class-mean value), "
                f"got {tuple(row)!r}"
            )
        name, *values = row
        cells = "".join(
            f'<td class="number">{html.escape(_number(value))}</td>' for value in values
        )
        lines.append(f'<tr><th scope="row">{html.escape(str(name))}</th>{cells}</tr>')
    head = "<tr><th>Metric</th><th>Model</th><th>Class-mean image</th></tr>"
    return table(head, lines)


def settings_table(settings: Mapping[str, Any]) -> str:
    """HTML of the table of settings."""
    lines = []
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        lines.append(
            f'<tr><th scope="row">{html.escape(str(name))}</th>'
            f'<td class="setting">{html.escape(text)}</td></tr>'
        )
    return table("<tr><th>Name</th><th>Value</th></tr>", lines)


def table(head: str, lines: Sequence[str]) -> str:
    """A table that scrolls sideways where the screen is narrow."""
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table>\n<thead>{head}</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def legend(schema: LabelSchema) -> str:
    """HTML list of the classes with their colours."""
    items = "\n".join(
        f'<li><span style="background:#{red:02x}{green:02x}{blue:02x}"></span>'
        f"{html.escape(name.replace('_', ' '))}</li>"
        for name, (red, green, blue) in zip(
            schema.class_names, label_colours(schema).tolist(), strict=True
        )
    )
    return f'<ul class="legend" aria-label="label colours">\n{items}\n</ul>'


def figure(caption: str, picture: Any) -> str:
    """HTML of one picture, embedded."""
    data = picture if isinstance(picture, bytes) else png_bytes(np.asarray(picture))
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError(
            f"picture {caption!r} is {len(data)} bytes that are not a PNG file; give "
            "PNG bytes or an array [h, w, 3] uint8"
        )
    encoded = base64.b64encode(data).decode("ascii")
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{encoded}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _number(value: Any) -> str:
    """A value of the metrics table as text."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, str | int):
        return str(value)
    return f"{float(value):.4f}"
