"""Where a prepared folder may be made, and which one may be replaced."""

from pathlib import Path

from cmrjax.data.manifest import ARRAYS, FORMAT, MANIFEST_FILE
from cmrjax.files import read_json
from cmrjax.output_folder import check_place, holds_only, is_empty

_LABELLING = ("nifti", "montages", "report.html", "labelling.csv", "summary.json")
_NAMES = (*(f"{name}.npy" for name in ARRAYS), *_LABELLING)
_has_our_names = holds_only(MANIFEST_FILE, *_NAMES)


def is_prepared(folder: Path) -> bool:
    """Returns whether a folder is a prepared one and holds nothing else.

    A manifest that is no JSON counts where the arrays stand beside it: such a folder
    is damaged, and prepared again with --overwrite.
    """
    if not _has_our_names(folder):
        return False
    try:
        manifest = read_json(folder / MANIFEST_FILE)
    except (ValueError, OSError):
        return all((folder / f"{name}.npy").is_file() for name in ARRAYS)
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def check_prepared_out(out: Path, overwrite: bool) -> None:
    """Refuses a folder for prepared data in whose place something would be lost.

    Args:
        out: The folder to make.
        overwrite: Whether a prepared folder may be replaced.

    Raises:
        ValueError: If it cannot be used; names it, and says what to do.
    """
    try:
        check_place(out, option="--out=")
    except OSError as error:
        raise ValueError(str(error)) from error
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"--out={out}: is a file; name a folder that does not exist")
    prepared = is_prepared(out)
    if not overwrite:
        hint = "; replace it with --overwrite" if prepared else ""
        raise ValueError(f"--out={out}: exists already{hint}, or name another folder")
    if not prepared and not is_empty(out):
        raise ValueError(
            f"--out={out}: is not a prepared folder (no {MANIFEST_FILE} of ours, or"
            " other files beside it), so it is not overwritten; name another folder, or"
            " remove it"
        )
