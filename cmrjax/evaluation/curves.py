"""Draws the curves of metrics.jsonl. Matplotlib is imported only to draw."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrjax.files import write_bytes

# Okabe-Ito colours with different line styles, so that colour is never the only key.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":")


def metric_series(
    history: Iterable[Mapping[str, Any]], key: str
) -> tuple[list[float], list[float]]:
    """Steps and values of one metric.

    Args:
        history: rows with "step" and scalars. Rows without the key are passed over. Of
            two rows with one step the later counts (a resumed run writes steps again).
        key: name of the metric.

    Returns:
        Steps in rising order and the values at them; a value that is not a number is
        NaN, which leaves a gap in a curve.
    """
    values: dict[float, float] = {}
    for row in history:
        step = _number(row.get("step"))
        if math.isfinite(step) and key in row:
            values[step] = _number(row[key])
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def _number(value: Any) -> float:
    """Returns a number, NaN for everything else."""
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        return math.nan


def loss_curves_png(
    history: Iterable[Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    path: str | Path,
) -> Path:
    """Draws curves over steps, one plot per group, and writes them as one PNG.

    Args:
        history: rows of `read_metrics`: "step" and scalars, not every key in each row.
        groups: title of a plot -> names of the metrics drawn in it. A metric without
            values is left out; a plot without any says so.
        path: PNG file to write; an existing one is replaced.

    Returns:
        The path.

    Raises:
        ValueError: if there are no groups.
    """
    if not groups:
        raise ValueError(
            'groups must name at least one plot, such as {"losses": ["g_loss"]}'
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    history = list(history)
    columns = min(len(groups), 2)
    rows = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(5.5 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (title, keys) in zip(axes, groups.items(), strict=False):
        _draw_group(axis, history, title, keys)
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, stream.getvalue())
    return Path(path)


def _draw_group(
    axis: Any, history: Sequence[Mapping[str, Any]], title: str, keys: Sequence[str]
) -> None:
    """Draws the metrics of one group into a matplotlib axis."""
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.grid(visible=True, alpha=0.3)
    for position, key in enumerate(keys):
        steps, values = metric_series(history, key)
        if not any(math.isfinite(value) for value in values):
            continue
        axis.plot(
            steps,
            [value if math.isfinite(value) else math.nan for value in values],
            label=key,
            color=LINE_COLOURS[position % len(LINE_COLOURS)],
            linestyle=LINE_STYLES[position // len(LINE_COLOURS) % len(LINE_STYLES)],
            marker="." if len(steps) < 20 else None,
            linewidth=1.3,
        )
    if axis.lines:
        axis.legend(fontsize="small")
    else:
        axis.text(0.5, 0.5, "no values yet", ha="center", transform=axis.transAxes)
