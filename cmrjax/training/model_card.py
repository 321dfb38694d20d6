"""The page that goes with a model: data, licence, budget, metrics, limits.

MODEL_CARD.md is made from what the folder records (model.json, metrics.jsonl,
timing.json), so it never says more than is known. After Mitchell et al. 2019, "Model
cards for model reporting".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmrjax.files import read_json, shorten, write_text
from cmrjax.training.checkpoint import latest_checkpoint
from cmrjax.training.description import MODEL_FILE
from cmrjax.training.model_folder import CHECKPOINTS
from cmrjax.training.writers import METRICS_FILE, read_metrics

CARD_FILE = "MODEL_CARD.md"
_TIMING = "timing.json"

LICENCES = {
    "mnms": "M&Ms challenge (Campello et al. 2021, IEEE TMI 40(12)), CC BY-NC-SA 4.0: "
    "research, no commercial use; what is made from it is shared alike.",
    "acdc": "ACDC challenge (Bernard et al. 2018, IEEE TMI 37(11)), CC BY-NC-SA 4.0: "
    "research, no commercial use; what is made from it is shared alike.",
    "simulated": "Simulated images. Those of the free anatomy need no licence; where "
    "the source was an XCAT phantom, its licence holds.",
}
_UNKNOWN_LICENCE = (
    "Not stated. Whoever passes this model on must know whether the data allow it "
    "(config.data.licence states it here)."
)
_LIMITS = {
    "generator": (
        "Makes pictures that look like cardiac MR for given labels. They are not scans "
        "of anyone, and nothing in them is evidence of a disease or of its absence.",
        "It knows the vendors, protocols and patients of its training data and no "
        "others; rare anatomy comes out as the common one.",
        "Slices are made one by one: textures may jump between them.",
        "Labels must be of its schema, at its pixel spacing (the commands resample).",
    ),
    "segmentation network": (
        "Learned on simulated images; on real ones it errs most at the base and apex "
        "and in layers of the chest wall.",
        "Its labels are training data for a generator, not measurements.",
    ),
}


def write_model_card(directory: str | Path, *, name: str = "") -> None:
    """Writes MODEL_CARD.md of a model folder.

    Args:
      directory: the folder, with model.json.
      name: of the model, by default that of the folder.

    Raises:
      OSError, ValueError: model.json cannot be read.
    """
    directory = Path(directory)
    write_text(directory / CARD_FILE, model_card(directory, name=name))


def model_card(directory: str | Path, *, name: str = "") -> str:
    """Returns the page as Markdown; see `write_model_card`.

    Raises:
      OSError, ValueError: a file that it is made from is damaged; names the folder.
    """
    try:
        return _page(Path(directory), name)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        files = f"{MODEL_FILE}, {METRICS_FILE} or {_TIMING}"
        raise ValueError(
            f"{directory}: {files} is damaged ({shorten(repr(error))}); fetch the model"
            " again"
        ) from error


def _page(directory: Path, name: str) -> str:
    model = read_json(directory / MODEL_FILE)
    generator = "out_channels" in model["architecture"]
    noun = "generator" if generator else "segmentation network"
    facts = model.get("provenance", {})
    parts = {
        "What it is": _network(model, noun),
        "Data": _data(facts),
        "Licence": _licence(facts),
        "Training": _training(directory, facts),
        "Measured": _measured(directory),
        "Limits": [f"- {line}" for line in _LIMITS[noun]],
    }
    lines = [
        f"# Model card: {name or directory.absolute().name}",
        "",
        "**Not for diagnosis.** For research on image analysis only: no part of it was "
        "tested for use on patients.",
    ]
    for title, content in parts.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def _network(model: Mapping[str, Any], noun: str) -> list[str]:
    classes = model["schema"]["class_names"]
    sizes = ", ".join(f"{k} {v}" for k, v in model["architecture"].items())
    kind = "SPADE generator, labels to image" if noun == "generator" else "U-Net"
    transform = model["transform"]
    intensities = ", ".join(f"{k} {v}" for k, v in transform.items())
    return [
        f"- {kind}; {sizes}.",
        f"- Labels ({model['schema']['name']}): "
        + ", ".join(f"{i} {name}" for i, name in enumerate(classes))
        + ".",
        f"- Images of {model['image_size']} x {model['image_size']} pixels of "
        f"{model['spacing']:g} mm; intensities: {intensities}.",
    ]


def _data(facts: Mapping[str, Any]) -> list[str]:
    sources = facts.get("data") or []
    origin = facts.get("config", {}).get("origin")
    if not sources:
        return [f"- Made from {origin}." if origin else "- Not recorded."]
    lines = []
    for data in sources:
        lines += [
            f"- {data['dataset']}: {data['num_slices']} slices of "
            f"{data['num_subjects']} subjects, groups {', '.join(data['groups'])}.",
            f"  SHA-256 of what was trained on: {data['fingerprint']}.",
        ]
        if data["labelled_by"]:
            lines.append(
                "  Tissues other than the expert's heart are the labels of a network "
                f"({data['labelled_by'][:12]}), not of a person."
            )
    return lines


def _licence(facts: Mapping[str, Any]) -> list[str]:
    stated = facts.get("config", {}).get("data", {}).get("licence", "")
    if stated:
        return [f"- {stated}"]
    names = dict.fromkeys(data["dataset"] for data in facts.get("data") or [])
    found = [f"- {LICENCES.get(name, _UNKNOWN_LICENCE)}" for name in names]
    return found or [f"- {_UNKNOWN_LICENCE}"]


def _training(directory: Path, facts: Mapping[str, Any]) -> list[str]:
    lines = []
    newest = latest_checkpoint(directory / CHECKPOINTS)
    rows = _rows(directory / METRICS_FILE)
    if newest is not None:
        lines.append(f"- Newest checkpoint: step {newest.name}.")
    seconds = [row["train_seconds"] for row in rows if row.get("train_seconds")]
    if seconds:
        lines.append(f"- {seconds[-1] / 60:.0f} minutes of training.")
    if (directory / _TIMING).is_file():
        timing = read_json(directory / _TIMING)
        lines.append(
            f"- Batch {timing['batch_size']} on {len(timing['devices'])} device(s), "
            f"{', '.join(sorted(set(timing['devices'])))}; at most "
            f"{timing['peak_host_bytes'] / 2**30:.1f} GiB of the host."
        )
    code = facts.get("code")
    if isinstance(code, Mapping):
        lines.append(
            f"- cmrjax {code.get('package')}, commit {code.get('commit') or 'unknown'}."
        )
    return lines or ["- Not recorded."]


def _measured(directory: Path) -> list[str]:
    rows = [
        {k: v for k, v in row.items() if k == "step" or k.startswith("validation_")}
        for row in _rows(directory / METRICS_FILE)
    ]
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        return ["- Nothing was measured on held-out images."]
    last = rows[-1]
    lines = [f"On validation slices, at step {last['step']}:", ""]
    lines += ["| figure | value |", "|---|---|"]
    for name, value in last.items():
        if name != "step" and value is not None:
            lines.append(f"| {name.removeprefix('validation_')} | {value:.4g} |")
    return lines


def _rows(path: Path) -> list[dict[str, Any]]:
    return read_metrics(path) if path.is_file() else []
