"""Tests that the report is one valid, self-contained, escaped page."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cmrjax.evaluation.figures import label_colours, png_bytes
from cmrjax.evaluation.report import paragraphs, write_page, write_report
from cmrjax.labels import CAVITY, MULTI_TISSUE

VOID = {"meta", "img", "br", "hr", "link", "input"}
LOADING = {"src", "href", "srcset", "action", "poster", "data", "background"}


class Page(HTMLParser):
    """Collects tags, attributes and text; insists that tags are nested."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.texts = [], [], {}
        self.declaration = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_decl(self, decl):
        self.declaration = decl

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (5, 4, 3)).astype(np.uint8)


@pytest.fixture
def page_path(tmp_path):
    return write_report(
        tmp_path / "report.html",
        title="Demo <1> & more",
        intro="First $paragraph.\n\nSecond <script>alert(1)</script>.",
        metrics=[("SSIM", 0.612345, 0.4), ("PSNR", "20.1 ± 1", None), ("n", 3, 3)],
        pictures=[
            ("one", picture(1)),
            ('two "quoted" > <b>', png_bytes(picture(2))),
        ],
        settings={"seed": 7, "path": "a<b>.npz", "betas": (0.0, 0.999)},
        schema=MULTI_TISSUE,
    )


def test_page_is_well_formed_html5(page_path):
    text = page_path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.declaration == "DOCTYPE html"
    assert page.tags[0] == ("html", {"lang": "en"})
    metas = page.attributes("meta")
    assert metas[0] == {"charset": "utf-8"}
    assert any(meta.get("name") == "viewport" for meta in metas)
    assert page.texts["title"] == ["Demo <1> & more"]


def test_page_is_self_contained(page_path):
    text = page_path.read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "base"}
        for name in LOADING & attributes.keys():
            assert attributes[name].startswith("data:image/png;base64,")
    assert "url(" not in text
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_all_pictures_are_inside(page_path):
    images = Page(page_path.read_text(encoding="utf-8")).attributes("img")
    assert [image["alt"] for image in images] == ["one", 'two "quoted" > <b>']
    for seed, image in enumerate(images, start=1):
        data = base64.b64decode(image["src"].split(",", 1)[1], validate=True)
        with Image.open(io.BytesIO(data)) as decoded:
            np.testing.assert_array_equal(np.asarray(decoded), picture(seed))


def test_contents(page_path):
    page = Page(page_path.read_text(encoding="utf-8"))
    assert page.texts["p"][1:] == [
        "First $paragraph.",
        "Second <script>alert(1)</script>.",
    ]
    assert "not for diagnosis" in page.texts["p"][0]
    assert "sigma 1.5" in page.texts["small"][0]
    assert page.texts["td"] == [
        *("0.6123", "0.4000"),
        *("20.1 ± 1", "\N{EN DASH}"),
        *("3", "3"),
        *("7", "a<b>.npz", "[0.0, 0.999]"),
    ]
    assert page.texts["figcaption"] == ["one", 'two "quoted" > <b>']


def test_legend_shows_the_label_colours(page_path):
    page = Page(page_path.read_text(encoding="utf-8"))
    names = [name.replace("_", " ") for name in MULTI_TISSUE.class_names]
    assert page.texts["li"] == names
    shown = [span["style"] for span in page.attributes("span")]
    expected = ["background:#" + bytes(c).hex() for c in label_colours(MULTI_TISSUE)]
    assert shown == expected


def test_empty_parts_and_replacing(tmp_path):
    path = tmp_path / "report.html"
    for schema in (CAVITY, None):
        write_report(
            path,
            title="t",
            intro="",
            metrics=[],
            pictures=[],
            settings={},
            schema=schema,
            protocol="own protocol",
        )
    page = Page(path.read_text(encoding="utf-8"))
    assert page.attributes("ul") == []
    assert page.texts["small"] == ["own protocol"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_refused_arguments(tmp_path):
    fine = {"title": "t", "intro": "", "settings": {}}
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match=r"must be \(name, .* got \('SSIM', 0.5\)"):
        write_report(path, metrics=[("SSIM", 0.5)], pictures=[], **fine)
    with pytest.raises(ValueError, match="picture 'a' is 4 bytes that are not a PNG"):
        write_report(path, metrics=[], pictures=[("a", b"JFIF")], **fine)
    with pytest.raises(ValueError, match=r"rgb must be \[h, w, 3\] uint8"):
        write_report(path, metrics=[], pictures=[("a", np.zeros((4, 4)))], **fine)
    assert not path.exists()


def test_a_page_of_given_parts(tmp_path):
    """Title and notice are escaped, the parts are HTML already."""
    parts = [paragraphs("one & two\n\nthree"), "<h2>More</h2>"]
    path = write_page(tmp_path / "p.html", title="a < b", notice="c > d", body=parts)
    text = path.read_text(encoding="utf-8")
    assert "<h1>a &lt; b</h1>" in text
    assert "c &gt; d" in text
    assert "<p>one &amp; two</p>\n<p>three</p>\n<h2>More</h2>" in text
