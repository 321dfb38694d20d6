r"""Writes the API pages, one for each module of cmrjax, from the docstrings.

    python -m tools.api_pages --out=build/docs

Begin at build/docs/index.html. Whatever pdoc warns of (a type that does not resolve, a
module that cannot be imported) is an error here.
"""

import argparse
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy.typing
import optax
import pdoc
from pdoc import doc, render

import cmrjax
from cmrjax.files import atomic_directory
from cmrjax.output_folder import check_free, holds_only
from experiments.command_line import run_command

# Aliases that Python spells out, which makes a signature unreadable.
_ALIASES = {
    "jax.typing.ArrayLike": jax.typing.ArrayLike,
    "jax.typing.DTypeLike": jax.typing.DTypeLike,
    "numpy.typing.ArrayLike": numpy.typing.ArrayLike,
    "optax.OptState": optax.OptState,
    "jax.Array": jax.Array,
}
_FLAX_FIELDS = ("parent", "name", "scope")  # of every network, nothing of ours
_is_pages = holds_only("search.js", "index.html", "cmrjax.html", "cmrjax")


class PageError(RuntimeError):
    """A page would be incomplete."""


def all_modules() -> list[str]:
    """Returns the names of all modules of cmrjax."""
    found = pkgutil.walk_packages(cmrjax.__path__, "cmrjax.")
    return ["cmrjax", *sorted(module.name for module in found)]


def write_pages(out: str | Path, modules: Iterable[str]) -> None:
    """Writes pages, an index and a search; replaces the folder, whole or not at all.

    Args:
      out: the folder; cmrjax.labels goes to cmrjax/labels.html in it.
      modules: names of modules.

    Raises:
      PageError: pdoc warned of something, or the folder holds other things.
    """
    check_free(out, overwrite=True, ours=_is_pages)
    render.configure(docformat="google", footer_text=f"cmrjax {cmrjax.__version__}")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module=r"pdoc\.")
        # Optax's own alias refers to itself by a name that it does not export.
        warnings.filterwarnings("ignore", message=".*ArrayTree")
        # What a TFDS builder inherits names types of modules that TFDS loads lazily.
        inherited = r".* for (tensorflow_datasets|cmrjax\.data\.tfds_builder)\."
        warnings.filterwarnings("ignore", message=inherited)
        for name in cmrjax.__all__:
            getattr(cmrjax, name)  # lazy; pdoc sees only what was imported
        try:
            pages = {name: doc.Module.from_name(name) for name in modules}
            for name, page in pages.items():
                _simplify(page)
                # cmrjax.__all__ names no modules, so that pdoc would list none.
                page.submodules = [
                    pages[other] for other in pages if other.rpartition(".")[0] == name
                ]
            with atomic_directory(out, overwrite=True, ours=_is_pages) as folder:
                _write(pages, folder)
        except (UserWarning, RuntimeError) as error:
            raise PageError(" ".join(str(error).split())) from error


def _write(pages: dict[str, doc.Module], folder: Path) -> None:
    files = {
        f"{name.replace('.', '/')}.html": render.html_module(page, pages)
        for name, page in pages.items()
    }
    files["index.html"] = render.html_index(pages)
    files["search.js"] = render.search_index(pages)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def _simplify(namespace: doc.Namespace) -> None:
    """Shortens types to the names that they have in the source, and hides Flax's."""
    is_network = "flax.linen.module" in str(getattr(namespace, "bases", ""))
    for name, member in list(namespace.members.items()):
        if isinstance(member, doc.Class):
            _simplify(member)
        elif isinstance(member, doc.Variable):
            member.annotation_str = _short(member.annotation_str)
            if is_network and name in _FLAX_FIELDS:
                del namespace.members[name]
        elif isinstance(member, doc.Function):
            member.signature = _short_signature(member.signature, is_network)


def _short_signature(
    signature: inspect.Signature, is_network: bool
) -> inspect.Signature:
    parameters = [
        parameter.replace(annotation=_short_annotation(parameter.annotation))
        for name, parameter in signature.parameters.items()
        if not (is_network and name in _FLAX_FIELDS)
    ]
    return signature.replace(
        parameters=parameters,
        return_annotation=_short_annotation(signature.return_annotation),
    )


class _Written:
    """An annotation that is shown as it is written here."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _short_annotation(annotation: object) -> object:
    if annotation is inspect.Signature.empty:
        return annotation
    return _Written(_short(inspect.formatannotation(annotation)))


def _short(text: str) -> str:
    """Replaces the aliases that are spelled out, inside of unions too."""
    for name, alias in _ALIASES.items():
        spelled = inspect.formatannotation(alias)
        members = spelled.removeprefix("Union[").removesuffix("]")
        text = text.replace(members, name)
    return re.sub(r"\b(?:typing\.)?Union\[([\w.]+)\]", r"\1", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.api_pages", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", required=True, help="folder to write or replace")
    out = Path(parser.parse_args(arguments).out)
    names = all_modules()
    try:
        write_pages(out, names)
    except (PageError, OSError) as error:
        print(f"api_pages: {error}", file=sys.stderr)
        return 1
    print(f"{out / 'index.html'}: {len(names)} modules, pdoc {pdoc.__version__}")
    return 0


if __name__ == "__main__":
    run_command("api_pages", main)
