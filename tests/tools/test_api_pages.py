"""The API pages: every public name is on one, with its docstring."""

import ast
import html
import inspect
import pathlib
import re
import sys

import pytest

import cmrjax

pytest.importorskip("pdoc", reason="needs pdoc: pip install -e '.[docs]'")

from pdoc import docstrings, render_helpers

from tools.api_pages import PageError, all_modules, main, write_pages

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = (
    "cmrjax",
    "cmrjax.labels",
    "cmrjax.models",
    "cmrjax.models.unet",
    "cmrjax.simulation",
    "cmrjax.simulation.bssfp",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "docs"
    write_pages(folder, MODULES)
    return folder


def _text(markup):
    """What is read on a page: no tags, one space between words."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _words(text):
    return re.findall(r"\w+", text.replace("Args:", "Arguments:"))


@pytest.mark.parametrize("name", cmrjax.__all__)
def test_every_public_name_has_a_place_with_its_docstring(pages, name):
    page = (pages / "cmrjax.html").read_text(encoding="utf-8")
    assert f'id="{name}"' in page
    value = getattr(cmrjax, name)
    if callable(value):
        assert value.__doc__
        first = inspect.cleandoc(value.__doc__).split("\n\n")[0]
        assert " ".join(_words(first)) in " ".join(_words(_text(page)))


def test_every_page_is_reached_from_the_index(pages):
    index = (pages / "index.html").read_text(encoding="utf-8")
    assert "url=./cmrjax.html" in index
    seen, pending = set(), [pages / "cmrjax.html"]
    while pending:
        path = pending.pop()
        if path not in seen:
            seen.add(path)
            text = path.read_text(encoding="utf-8")
            assert f"cmrjax {cmrjax.__version__}" in _text(text)
            links = re.findall(r'<li><a href="([^"#:]+[.]html)"', text)
            pending += [(path.parent / link).resolve() for link in links]
    assert len(seen) == len(MODULES)


def test_types_have_the_names_of_the_source(pages):
    page = _text((pages / "cmrjax/simulation/bssfp.html").read_text(encoding="utf-8"))
    assert "t1 : numpy . typing . ArrayLike" in page
    assert "_array_like" not in page


def test_fields_that_flax_adds_are_left_out(pages):
    page = (pages / "cmrjax/models/unet.html").read_text(encoding="utf-8")
    assert 'id="DoubleConv.features"' in page
    assert "DoubleConv.parent" not in page
    assert "_Sentinel" not in page


def test_all_modules_are_those_in_the_folder():
    files = (ROOT / "cmrjax").rglob("*.py")
    dotted = {".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files}
    assert set(all_modules()) == {name.removesuffix(".__init__") for name in dotted}


def test_a_type_that_does_not_resolve_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "vague_types.py").write_text(
        "from __future__ import annotations\ndef f(x: Nowhere) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PageError, match=r"vague_types.*Nowhere"):
        write_pages(tmp_path / "docs", ["vague_types"])
    sys.modules.pop("vague_types", None)
    assert not (tmp_path / "docs").exists()


def test_command_reports_an_error_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tools.api_pages.all_modules", lambda: ["cmrjax.nowhere"])
    assert main([f"--out={tmp_path / 'docs'}"]) == 1
    assert capsys.readouterr().err.startswith("api_pages: ")


def test_a_folder_that_holds_other_things_is_not_replaced(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "index.html").write_text("")
    assert main([f"--out={tmp_path}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"api_pages: {tmp_path} holds something else")
    assert line.endswith("give another folder, or remove it")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert main([f"--out={tmp_path / 'thesis.tex'}"]) == 1
    assert (tmp_path / "thesis.tex").is_file()


def test_earlier_pages_and_an_empty_folder_are_replaced(tmp_path):
    for _ in range(2):
        write_pages(tmp_path, ["cmrjax.labels"])
        (tmp_path / "cmrjax" / "old.html").write_text("")
    write_pages(tmp_path, ["cmrjax.labels"])
    assert not (tmp_path / "cmrjax" / "old.html").exists()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["cmrjax", "index.html", "search.js"]


def _docstrings():
    """(place, docstring) of everything public in cmrjax."""
    for path in sorted((ROOT / "cmrjax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = getattr(node, "name", "")
                text = ast.get_docstring(node)
                if text and not name.startswith("_"):
                    yield f"{path.relative_to(ROOT)} {name}", text


def test_no_docstring_loses_words_or_gains_emphasis_when_it_is_rendered():
    spoiled = []
    for place, text in _docstrings():
        page = render_helpers.to_html(docstrings.google(text))
        if _words(_text(page)) != _words(text) or re.search("<(em|del|sup|sub)>", page):
            spoiled.append(place)
    assert spoiled == []
    swallowed = render_helpers.to_html(docstrings.google("In runs/<step>/ it is."))
    assert _words(_text(swallowed)) != _words("In runs/<step>/ it is.")


def test_only_pages_are_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="holds something else"):
        write_pages(tmp_path, ["cmrjax.labels"])
    write_pages(tmp_path / "docs", ["cmrjax", "cmrjax.labels"])
    write_pages(tmp_path / "docs", ["cmrjax", "cmrjax.labels"])
