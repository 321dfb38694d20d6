"""The page, the CSV and the summary of a labelling."""

import re

import numpy as np

from cmrjax.evaluation.figures import png_bytes
from cmrjax.evaluation.labelling_report import closing_lines, write_labelling_report
from cmrjax.files import read_json
from cmrjax.labels import MULTI_TISSUE
from tests.evaluation.labelling_rows import NAN, make_row

PNG = png_bytes(np.zeros((2, 2, 3), np.uint8))


def _write(folder, rows, **options):
    asked = []

    def excerpt(code):
        asked.append(code)
        return PNG

    summary = write_labelling_report(
        folder,
        rows,
        schema=MULTI_TISSUE,
        settings={"model_fingerprint": "abc"},
        problems=options.get("problems", []),
        excerpt=excerpt,
    )
    return summary, asked, (folder / "report.html").read_text(encoding="utf-8")


def _plain(page):
    return re.sub(r"<[^>]*>", " ", re.sub(r'src="[^"]*"', "", page))


def test_flagged_first_with_pictures_and_all_linked(tmp_path):
    rows = [
        make_row("good", split="test"),
        make_row("bad & worse", split="test", counts=(1, 10, 10)),
        make_row("odd", group="B2", split="train", enclosed=0.1),
    ]
    problem = "in/P9_sa.nii.gz: file is empty (0 bytes); fetch it again"
    summary, asked, page = _write(tmp_path, rows, problems=[problem])
    assert asked == ["bad & worse", "odd"]
    assert summary["flagged"][0]["subject"] == "bad & worse"
    links = re.findall(r'href="([^"]*)">([^<]*)<', page)
    assert links == [
        ("montages/bad%20%26%20worse.png", "bad &amp; worse"),
        ("montages/odd.png", "odd"),
        ("montages/good.png", "good"),
    ]
    assert page.count("<img") == 2
    for text in (problem, "abc", "heart Dice 0.10 at mid-ventricle", "held out"):
        assert text in _plain(page)
    assert "default-src 'none'" in page
    assert read_json(tmp_path / "summary.json")["problems"] == [problem]
    lines = (tmp_path / "labelling.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("subject,group,split,phase,slice,level,kept,valid_pix")
    assert len(lines) == 4


def test_closing_lines(tmp_path):
    rows = [make_row(split="test"), make_row(split="test", index=1, level="basal")]
    summary, _, _ = _write(tmp_path, rows)
    mid, every, flags = closing_lines(summary)
    assert "held-out subjects, mid-ventricular slices: Dice LV 0.800, MYO 0.80" in mid
    assert "all slices with heart" in every
    assert flags == "look wrong: 0 of 1 subjects"


def test_without_an_expert(tmp_path):
    summary, _, page = _write(tmp_path, [make_row(counts=(NAN, 10, NAN))])
    assert summary["dice"] == []
    assert "There is no expert to compare with" in page
    assert closing_lines(summary) == ["look wrong: 0 of 1 subjects"]
    assert "nan" not in _plain(page).lower().replace("protocol", "")


def test_pictures_are_limited(tmp_path):
    rows = [make_row(f"P{k:02}", counts=(1, 10, 10)) for k in range(30)]
    _, asked, page = _write(tmp_path, rows)
    assert len(asked) == page.count("<img") == 24
    assert "Pictures of the first 24 are shown" in page
