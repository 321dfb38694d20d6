"""The page that goes with a model: data, licence, budget, metrics, limits.

MODEL_CARD.md is made from what the folder records (`cmrjax.training.model_record`), so
it never says more than is known. After Mitchell et al. 2019, "Model cards for model
reporting".
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrjax.files import read_json, shorten, write_text
from cmrjax.training.checkpoint_folder import best_score, latest_checkpoint
from cmrjax.training.description import (
    MODEL_FILE,
    ModelDescription,
    SegmenterDescription,
    read_description,
)
from cmrjax.training.model_folder import BEST, CHECKPOINTS
from cmrjax.training.model_record import COPY, MADE, SNAPSHOT, snapshot
from cmrjax.training.timing import BATCH_SIZE, DEVICES, PEAK_HOST, TIMING_FILE
from cmrjax.training.writers import METRICS_FILE

CARD_FILE = "MODEL_CARD.md"

LICENCES = {
    "mnms": "M&Ms challenge (Campello et al. 2021, IEEE TMI 40(12)), CC BY-NC-SA 4.0: "
    "research, no commercial use; what is made from it is shared alike.",
    "acdc": "ACDC challenge (Bernard et al. 2018, IEEE TMI 37(11)), CC BY-NC-SA 4.0: "
    "research, no commercial use; what is made from it is shared alike.",
    "simulated": "Simulated images. Those of the free anatomy need no licence; where "
    "the source was an XCAT phantom, its licence holds.",
}
_UNKNOWN_LICENCE = (
    "Not stated. Whoever passes this model on must know whether the data allow it{how}."
)
_KINDS = {kind.FORMAT: kind for kind in (ModelDescription, SegmenterDescription)}
_UNFIT = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
_LIMITS = {
    ModelDescription.NOUN: (
        "Makes pictures that look like cardiac MR for given labels. They are not scans "
        "of anyone, and nothing in them is evidence of a disease or of its absence.",
        "It knows the vendors, protocols and patients of its training data and no "
        "others; rare anatomy comes out as the common one.",
        "Slices are made one by one: textures may jump between them.",
        "Labels must be of its schema, at its pixel spacing (the commands resample).",
    ),
    SegmenterDescription.NOUN: (
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
    except _UNFIT as error:
        if isinstance(error, ValueError) and str(directory) in str(error):
            raise
        files = f"{MODEL_FILE}, {METRICS_FILE} or {TIMING_FILE}"
        raise ValueError(
            f"{directory}: {files} is damaged ({shorten(repr(error))}); fetch the model"
            " again"
        ) from error


def _page(directory: Path, name: str) -> str:
    model = read_json(directory / MODEL_FILE)
    kind = _KINDS.get(model["format"], ModelDescription)
    read_description(directory, kind)  # for its words, where a value does not fit
    noun = kind.NOUN
    facts = model.get("provenance", {})
    parts = {
        "What it is": _network(model, noun, facts),
        "Data": _data(facts),
        "Licence": _licence(facts),
        "Training": _training(directory, facts),
        "Measured": _measured(directory, facts),
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


def _network(
    model: Mapping[str, Any], noun: str, facts: Mapping[str, Any]
) -> list[str]:
    classes = model["schema"]["class_names"]
    sizes = ", ".join(f"{k} {v}" for k, v in model["architecture"].items())
    is_generator = noun == ModelDescription.NOUN
    kind = "SPADE generator, labels to image" if is_generator else "U-Net"
    transform = model["transform"]
    intensities = ", ".join(f"{k} {v}" for k, v in transform.items())
    lines = [
        f"- {kind}; {sizes}.",
        f"- Labels ({model['schema']['name']}): "
        + ", ".join(f"{i} {name}" for i, name in enumerate(classes))
        + ".",
        f"- Images of {model['image_size']} x {model['image_size']} pixels of "
        f"{model['spacing']:g} mm; intensities: {intensities}.",
    ]
    if facts.get("assumed"):
        lines.append(f"- Assumed, not known: {'; '.join(facts['assumed'])}.")
    return lines


def _data(facts: Mapping[str, Any]) -> list[str]:
    lines = _sources(facts.get("data") or [])
    if facts.get("stated_data"):
        lines.append(f"- As stated by who made this folder: {facts['stated_data']}")
    elif not lines:
        lines.append(f"- Not recorded{_how(facts, '--data')}.")
    for before in _origins(facts):
        lines.append(
            f"- Training began with the network of {before['path']} "
            f"(SHA-256 {before['sha256']}), which was trained on:"
        )
        lines += [f"  {line}" for line in _sources(before["data"]) or ["- Not known."]]
    return lines


def _origins(facts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The networks that training began with: its own, that one's, and so on."""
    before = facts.get("started_from")
    while before:
        yield before
        before = before.get("started_from")


def _sources(sources: Sequence[Mapping[str, Any]]) -> list[str]:
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


def _how(facts: Mapping[str, Any], option: str) -> str:
    """What states a fact of a model whose maker can be told; else nothing."""
    if facts.get("imported_by"):
        return f" ({option} of {facts['imported_by']} states it here)"
    is_run = "inputs" in facts and SNAPSHOT not in facts
    if option == "--licence" and is_run:
        return " (config.data.licence states it here)"
    return ""


def _licence(facts: Mapping[str, Any]) -> list[str]:
    own = (facts.get("config") or {}).get("data", {}).get("licence", "")
    stated = [(own, facts.get("data"))]
    stated += [(before.get("licence"), before["data"]) for before in _origins(facts)]
    unknown = _UNKNOWN_LICENCE.format(how=_how(facts, "--licence"))
    found = []
    for text, sources in stated:
        names = [data["dataset"] for data in sources or []]
        known = [LICENCES.get(name, unknown) for name in names] or [unknown]
        found += [text] if text else known
    return [f"- {line}" for line in dict.fromkeys(found)]


def _training(directory: Path, facts: Mapping[str, Any]) -> list[str]:
    lines = []
    copy = facts.get(COPY)
    if copy:
        average = ", the moving average" if copy["weights"] == "average" else ""
        which = f", step {copy['step']}{average}" if SNAPSHOT in facts else ""
        lines.append(f"- A copy of {copy['of']}{which}.")
        lines.append(f"- SHA-256 of description and weights: {copy['sha256']}.")
    else:
        lines += _checkpoints(directory)
    budget = _snapshot(directory, facts)
    if "seconds" in budget:
        lines.append(f"- {budget['seconds'] / 60:.0f} minutes of training.")
    if DEVICES in budget:
        devices = budget[DEVICES]
        lines.append(
            f"- Batch {budget[BATCH_SIZE]} on {len(devices)} device(s), "
            f"{', '.join(sorted(set(devices)))}; at most "
            f"{budget[PEAK_HOST] / 2**30:.1f} GiB of the host."
        )
    lines += _losses(facts)
    for words, code in (
        ("cmrjax", facts.get("code")),
        ("Copied by cmrjax", facts.get(MADE, {}).get("code")),
    ):
        if isinstance(code, Mapping):
            commit = code.get("commit") or "unknown"
            lines.append(f"- {words} {code.get('package')}, commit {commit}.")
    return lines or ["- Not recorded."]


def _checkpoints(directory: Path) -> list[str]:
    lines = []
    newest = latest_checkpoint(directory / CHECKPOINTS)
    if newest is not None:
        lines.append(f"- Newest checkpoint: step {newest.name}.")
    best = best_score(directory / CHECKPOINTS)
    if best is not None:
        step, score = best
        metric = f", by {score.criterion.metric}" if score.criterion.metric else ""
        lines.append(f"- Best checkpoint ({CHECKPOINTS}/{BEST}): step {step}{metric}.")
    return lines


def _losses(facts: Mapping[str, Any]) -> list[str]:
    loss = (facts.get("config") or {}).get("loss")
    if not loss:
        return []
    weights = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in loss.items()
        if name != "vgg19_weights"
    )
    if "perceptual_features" not in facts:
        return [f"- Loss, Focal Tversky: {weights}."]
    layers = ", ".join(facts["perceptual_features"])
    perceptual = f"perceptual on VGG19's {layers}" if layers else "no perceptual loss"
    return [f"- Losses: hinge, feature matching, {perceptual}; {weights}."]


def _snapshot(directory: Path, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Budget and figures: what a copy carries, or the last of a run."""
    return facts[SNAPSHOT] if SNAPSHOT in facts else snapshot(directory)


def _measured(directory: Path, facts: Mapping[str, Any]) -> list[str]:
    last = _snapshot(directory, facts)
    if not last.get("figures"):
        return ["- Nothing was measured on held-out images."]
    columns = {last["figures_step"]: last["figures"]}
    at = f"step {last['figures_step']}"
    best = None if SNAPSHOT in facts else best_score(directory / CHECKPOINTS)
    if best is not None and best[0] == last["figures_step"]:
        at += ", the best"
    elif best is not None:
        found = snapshot(directory, best[0])
        if found.get("figures_step") == best[0]:
            columns = {best[0]: found["figures"], **columns}
            at = f"step {best[0]} (the best) and {at} (the last)"
    lines = [f"On validation slices, at {at}:", ""]
    if _is_of_the_average(facts):
        lines[0] = f"Of the moving average, which is not here. {lines[0]}"
    captions = [f"step {step}" for step in columns] if len(columns) > 1 else ["value"]
    lines += [f"| figure | {' | '.join(captions)} |", "|---" * len(captions) + "|---|"]
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        values = [column.get(name) for column in columns.values()]
        shown = ["" if value is None else f"{value:.4g}" for value in values]
        lines.append(f"| {name.removeprefix('validation_')} | {' | '.join(shown)} |")
    return lines


def _is_of_the_average(facts: Mapping[str, Any]) -> bool:
    """Whether validations looked at the average, and a copy has other weights."""
    settings = (facts.get("config") or {}).get("optimizer", {})
    is_last = facts.get(COPY, {}).get("weights") == "last"
    return bool(is_last and settings.get("average_decay"))
