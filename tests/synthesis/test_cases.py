"""Folders of label files: what is found, kept, made anew, passed over."""

import nibabel as nib
import numpy as np
import pytest

from cmrjax.synthesis.cases import find_cases, synthesize_cases
from cmrjax.synthesis.volume import Synthesizer
from tests.synthesis.label_files import draw_labels, write_labels
from tests.synthesis.tiny_models import make_params


@pytest.fixture(scope="module")
def synthesizer():
    return Synthesizer.create(make_params(), batch_size=1)


def labels_of(cases):
    return [case.label_path.name for case in cases]


def test_marked_files_at_any_depth_are_label_files(tmp_path):
    source = tmp_path / "source"
    write_labels(source / "B2" / "B2_sa_gt.nii.gz", draw_labels())
    write_labels(source / "A1" / "A1_sa_gt.nii", draw_labels())
    write_labels(source / "A1" / "A1_sa.nii.gz", draw_labels())
    write_labels(source / ".hidden" / "C_gt.nii.gz", draw_labels())
    cases = find_cases(source, tmp_path / "out")
    assert labels_of(cases) == ["A1_sa_gt.nii", "B2_sa_gt.nii.gz"]
    assert [case.folder for case in cases] == [
        tmp_path / "out" / "A1",
        tmp_path / "out" / "B2",
    ]


def test_links_to_folders_are_followed_once(tmp_path):
    write_labels(tmp_path / "store" / "A1" / "A1_sa_gt.nii.gz", draw_labels())
    source = tmp_path / "source"
    source.mkdir()
    (source / "A1").symlink_to(tmp_path / "store" / "A1")
    (tmp_path / "store" / "A1" / "loop").symlink_to(source)
    (case,) = find_cases(source, tmp_path / "out")
    assert case.label_path == source / "A1" / "A1_sa_gt.nii.gz"
    assert case.folder == tmp_path / "out" / "A1"


def test_without_marked_files_all_are_label_files(tmp_path):
    write_labels(tmp_path / "labels" / "one.nii.gz", draw_labels())
    write_labels(tmp_path / "labels" / "two.nii", draw_labels())
    cases = find_cases(tmp_path / "labels", tmp_path / "out")
    assert labels_of(cases) == ["one.nii.gz", "two.nii"]


def test_outputs_below_the_labels_are_not_taken_for_labels(tmp_path, synthesizer):
    write_labels(tmp_path / "a_gt.nii.gz", draw_labels())
    out = tmp_path / "out"
    for _ in range(2):
        cases = find_cases(tmp_path, out)
        assert labels_of(cases) == ["a_gt.nii.gz"]
        synthesize_cases(cases, out, synthesizer, warn=print)


def test_what_cannot_be_found_or_would_be_mixed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such file or folder; expected N"):
        find_cases(tmp_path / "nowhere", tmp_path / "out")
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ValueError, match=r"source: holds no NIfTI file \(\.nii\.gz or"):
        find_cases(source, tmp_path / "out")
    path = write_labels(source / "a_gt.nii.gz", draw_labels())
    for labels in (source, path):
        with pytest.raises(ValueError, match="source is the folder of the labels; giv"):
            find_cases(labels, source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.nii.gz").touch()
    with pytest.raises(ValueError, match=r"full holds files that are not of this comm"):
        find_cases(source, tmp_path / "full")
    with pytest.raises(ValueError, match=r"--out=.* is a file; give a folder"):
        find_cases(source, tmp_path / "full" / "a.nii.gz")
    write_labels(source / "a_gt.nii", draw_labels())
    with pytest.raises(ValueError, match=r"would both be written to .*a\.nii\.gz; ren"):
        find_cases(source, tmp_path / "out")


def test_outputs_of_another_run_are_not_taken_for_labels(tmp_path, synthesizer):
    write_labels(tmp_path / "data" / "a_gt.nii.gz", draw_labels())
    for name in ("one", "two"):
        cases = find_cases(tmp_path / "data", tmp_path / "data" / name)
        assert labels_of(cases) == ["a_gt.nii.gz"]
        synthesize_cases(cases, tmp_path / "data" / name, synthesizer, warn=print)
    again = find_cases(tmp_path / "data" / "one", tmp_path / "three")  # named: meant
    assert labels_of(again) == ["a_gt.nii.gz"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("c_gt.nii.gz", "c_frame00_gt.nii.gz"), r"c_frame00.*as would be a frame of "),
        (
            ("synthesis_gt.nii.gz",),
            r"synthesis_gt.* would be written to .*\.json, where",
        ),
    ],
    ids=["a frame", "the record"],
)
def test_names_whose_outputs_would_replace_others_are_refused(tmp_path, names, text):
    for name in names:
        write_labels(tmp_path / "data" / name, draw_labels())
    with pytest.raises(ValueError, match=text):
        find_cases(tmp_path / "data", tmp_path / "out")


def test_finished_cases_are_kept_and_changed_ones_made_anew(tmp_path, synthesizer):
    source, out = tmp_path / "source", tmp_path / "out"
    for name in ("a", "b"):
        write_labels(source / f"{name}_gt.nii.gz", draw_labels())

    def run(with_model=synthesizer):
        cases = find_cases(source, out)
        summary = synthesize_cases(cases, out, with_model, warn=print)
        assert summary.problems == []
        return summary.made, summary.kept

    assert run() == (2, 0)
    before = (out / "a.nii.gz").stat().st_mtime_ns
    assert run() == (0, 2)
    assert (out / "a.nii.gz").stat().st_mtime_ns == before
    write_labels(source / "b_gt.nii.gz", draw_labels()[::-1])
    assert run() == (1, 1)
    (out / "a.json").unlink()  # stopped before the record
    assert run() == (1, 1)
    assert run(Synthesizer.create(make_params(seed=1), batch_size=1)) == (2, 0)


def test_bad_files_are_said_and_the_rest_is_done(tmp_path, synthesizer):
    source, out = tmp_path / "source", tmp_path / "out"
    wrong = draw_labels()
    wrong[0, 0, 2] = 7
    bad = write_labels(source / "a_gt.nii.gz", wrong)
    good = write_labels(source / "b_gt.nii.gz", draw_labels())
    cut = source / "c_gt.nii.gz"
    cut.write_bytes(good.read_bytes()[:-20])
    lines = []
    cases = find_cases(source, out)
    summary = synthesize_cases(cases, out, synthesizer, warn=lines.append)
    assert (summary.made, summary.kept, len(summary.problems)) == (1, 0, 2)
    assert lines == [f"error: {problem}" for problem in summary.problems]
    assert summary.problems[0].startswith(f"{bad}: slice 2 holds label id 7")
    assert summary.problems[1].startswith(f"{cut}: gzip data are truncated")
    assert (out / "b.nii.gz").is_file()
    assert not (out / "a.nii.gz").exists()


def test_memory_is_named_as_the_cause(tmp_path, synthesizer, monkeypatch):
    path = write_labels(tmp_path / "source" / "a_gt.nii.gz", draw_labels())

    def fail(*arguments, **settings):
        raise MemoryError

    monkeypatch.setattr("cmrjax.synthesis.volume.generate", fail)
    cases = find_cases(path, tmp_path / "out")
    summary = synthesize_cases(cases, tmp_path / "out", synthesizer, warn=print)
    (problem,) = summary.problems
    assert problem.startswith(f"{path}: not enough memory; use a smaller --batch-size")


def test_warnings_are_passed_on(tmp_path, synthesizer):
    image = nib.Nifti1Image(draw_labels(), np.diag([1.33, 1.33, 9.0, 1.0]))
    raw = bytearray(image.to_bytes())
    raw[88:92] = np.float32(8.0).tobytes()  # pixdim[3] contradicts the affine
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a_gt.nii").write_bytes(raw)
    lines = []
    cases = find_cases(tmp_path / "in", tmp_path / "out")
    synthesize_cases(cases, tmp_path / "out", synthesizer, warn=lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("warning: ")
    assert "1.33 x 1.33 x 8 mm in the header" in lines[0]
