"""Whole preparations: arrays, manifest, atomicity, what is refused."""

import dataclasses
import gzip
import os

import numpy as np
import pytest

from cmrjax.data import preconvert
from cmrjax.data.datasets import DATASETS
from cmrjax.data.intensity import ClipTransform
from cmrjax.data.manifest import FORMAT
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.split import committed_split
from cmrjax.data.subject import Recipe, prepare_subject
from cmrjax.data.summary import describe
from cmrjax.labels import CAVITY
from tests.data.mnms_tree import (
    make_arrays,
    write_small_set,
    write_split,
    write_subject,
    write_table,
)

RECIPE = Recipe(image_size=(32, 32))


def _run(source, out, *, recipe=RECIPE, dataset="mnms", **options):
    plan = preconvert.plan_preparation(dataset, source, out, **options)
    lines = []
    return preconvert.run_preparation(plan, recipe, say=lines.append), lines


def test_arrays_and_manifest(tmp_path):
    source = write_small_set(tmp_path / "in")
    summary, lines = _run(source, tmp_path / "out")
    assert lines == []
    assert sorted(os.listdir(tmp_path / "out")) == [
        "images.npy",
        "labels.npy",
        "manifest.json",
    ]
    data = PreparedDataset.open(tmp_path / "out", verify="full")
    assert data.images.shape == data.labels.shape == (18, 32, 32)
    assert [s.slice for s in data.slices[:6]] == [1, 2, 3, 1, 2, 3]
    assert [s.split for s in data.slices] == ["train"] * 12 + ["test"] * 6
    np.testing.assert_array_equal(
        data.labels[0, 6:26, 4:28], make_arrays()[1][:, :, 1, 0].T
    )
    volume = data.volumes[0]
    assert volume["image_file"] == "P0/P0_sa.nii.gz"
    assert volume["num_slices"] == 3
    assert set(data.manifest["provenance"]["inputs"]) == {"table", "split"}
    counts = np.bincount(data.labels[:, 6:26, 4:28].ravel(), minlength=4)
    np.testing.assert_array_equal(summary.class_pixels, counts)
    assert data.manifest["nominal_spacing"] is False


def test_same_input_same_fingerprint_and_it_sees_every_choice(tmp_path):
    source = write_small_set(tmp_path / "in")

    def fingerprint(name, **options):
        _run(source, tmp_path / name, **options)
        return PreparedDataset.open(tmp_path / name).fingerprint

    first = fingerprint("a")
    assert fingerprint("b") == first
    clip = Recipe(image_size=(32, 32), transform=ClipTransform())
    size = Recipe(image_size=(32, 36))
    other_split = write_split(tmp_path / "s.csv", {"P0": "train", "P1": "test"})
    others = {
        fingerprint("c", recipe=clip),
        fingerprint("d", recipe=size),
        fingerprint("e", split=other_split),
    }
    assert len(others | {first}) == 4


def test_bad_files_are_named_and_the_others_prepared(tmp_path):
    source = write_small_set(tmp_path / "in", count=4)
    broken = source / "P1" / "P1_sa.nii.gz"
    broken.write_bytes(broken.read_bytes()[:500])
    images, labels = make_arrays()
    labels[1, 1, 2, 0] = 200
    write_subject(source, "P2", images=images, labels=labels)
    summary, lines = _run(source, tmp_path / "out")
    assert len(lines) == len(summary.problems) == 2
    assert lines[0].startswith(f"problem: {broken}: gzip data are truncated after 500")
    assert "P2_sa_gt.nii.gz, ED: slice 2 holds label id 200" in lines[1]
    data = PreparedDataset.open(tmp_path / "out")
    found = {(s.subject, s.phase) for s in data.slices}
    expected = {("P0", "ED"), ("P0", "ES"), ("P2", "ES"), ("P3", "ED"), ("P3", "ES")}
    assert found == expected
    assert data.manifest["problems"] == summary.problems
    assert "problems: 2" in describe(summary)


def test_groups_of_one_name_are_refused(tmp_path):
    source = write_small_set(tmp_path / "in")
    rows = {"P0": ("A1", 1, 0, 1), "P1": ("A", 11, 0, 1), "P2": ("A", 2, 0, 1)}
    write_table(source / "info.csv", rows)
    summary, _ = _run(source, tmp_path / "out")
    (line,) = summary.problems
    assert line.startswith(
        "vendor 'A1' centre '1' (1 subjects, the first P0) and vendor 'A' centre '11'"
        " (1 subjects, the first P1) would both be group A11; give one of them"
    )
    data = PreparedDataset.open(tmp_path / "out")
    assert {s.subject for s in data.slices} == {"P2"}


def test_unlabelled_are_counted(tmp_path):
    source = write_small_set(tmp_path / "in", count=1)
    write_subject(source, "P8", labels=np.zeros((24, 20, 4, 2), np.uint8))
    write_table(source / "info.csv", {c: ("B", 3, 0, 1) for c in ("P0", "P8")})
    summary, lines = _run(source, tmp_path / "out")
    assert summary.unlabelled == ["P8"]
    assert summary.problems == []
    assert "skipped, no labels: 1 subjects" in describe(summary)
    assert "1 subjects are not in split.csv: held out (1 " in lines[0]


@pytest.mark.parametrize("listed", [True, False])
def test_background_only_is_a_problem_below_training_or_when_listed(tmp_path, listed):
    source = write_small_set(tmp_path / "in", count=1)
    place = "" if listed else "Training/Labeled"
    write_subject(source / place, "P8", labels=np.zeros((24, 20, 4, 2), np.uint8))
    write_table(source / "info.csv", {c: ("A", 1, 0, 1) for c in ("P0", "P8")})
    splits = {"P0": "train", "P8": "train"} if listed else {"P0": "train"}
    write_split(source / "split.csv", splits)
    summary, _ = _run(source, tmp_path / "out")
    assert summary.unlabelled == []
    (line,) = summary.problems
    assert "P8_sa_gt.nii.gz: holds background only, but P8 is one of the" in line


@pytest.mark.parametrize("place", ["", "OpenDataset/Testing", "OpenDataset/Validation"])
def test_official_test_subjects_never_reach_training(tmp_path, place):
    """Neither from a flat copy nor with the subset's own folder as the source."""
    source = tmp_path / (place or "flat")
    codes = [f"X{i}" for i in range(12)]
    for code in codes:
        write_subject(source, code)
    write_table(source / "info.csv", {c: ("A", 1, 0, 1) for c in codes})
    plan = preconvert.plan_preparation("mnms", source, tmp_path / "out")
    assert set(plan.splits.values()) == {"test"}
    assert "held out" in plan.notices[0]
    assert not plan.labelled


@pytest.mark.parametrize("option", ["none", "committed", "own", "beside"])
def test_training_subjects_are_assigned_unless_an_own_split_omits_them(
    tmp_path, option
):
    source = tmp_path / "OpenDataset" / "Training" / "Labeled"
    codes = [f"X{i}" for i in range(12)]
    for code in codes:
        write_subject(source, code)
    write_table(tmp_path / "OpenDataset" / "t.csv", {c: ("A", 1, 0, 1) for c in codes})
    place = source if option == "beside" else tmp_path
    own = write_split(place / "split.csv", {"X0": "train"})
    split = {"own": own, "committed": committed_split("mnms")}.get(option)
    table = tmp_path / "OpenDataset" / "t.csv"
    plan = preconvert.plan_preparation(
        "mnms", source, tmp_path / "out", table=table, split=split
    )
    trained = [code for code, name in plan.splits.items() if name == "train"]
    if option in ("own", "beside"):
        assert trained == ["X0"]
        assert plan.notices[0].startswith("11 subjects are not in split.csv: held out")
    else:
        assert len(trained) > 4
        assert "12 subjects are not in mnms.csv; assigned by" in plan.notices[0]
    assert plan.labelled >= set(codes)


def test_nothing_usable_writes_nothing(tmp_path):
    source = tmp_path / "in"
    write_subject(source, "P0", labels=np.zeros((24, 20, 4, 2), np.uint8))
    write_table(source / "info.csv", {"P0": ("A", 1, 0, 1)})
    with pytest.raises(
        preconvert.NothingPreparedError, match=r"no usable slice in 1 subjects \(1 wi"
    ):
        _run(source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


def test_interruption_leaves_the_old_output(tmp_path):
    source = write_small_set(tmp_path / "in")
    _run(source, tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    plan = preconvert.plan_preparation("mnms", source, tmp_path / "out", overwrite=True)

    def stop_after_one(records):
        yield records[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preconvert.run_preparation(plan, RECIPE, progress=stop_after_one)
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_a_folder_that_could_not_be_opened_is_not_made(tmp_path):
    """Whatever the readers of tables let through."""
    source = write_small_set(tmp_path / "in", count=1)
    plan = preconvert.plan_preparation("mnms", source, tmp_path / "out")
    records = [dataclasses.replace(r, vendor="A\u00a0B") for r in plan.records]
    plan = dataclasses.replace(plan, records=tuple(records))
    message = "out: could not be opened again, vendor has a value .*; nothing was writ"
    with pytest.raises(preconvert.NotOpenableError, match=message):
        preconvert.run_preparation(plan, RECIPE)
    assert os.listdir(tmp_path) == ["in"]


def test_out_is_only_replaced_when_told_and_prepared(tmp_path):
    source = write_small_set(tmp_path / "in", count=1)
    out = tmp_path / "out"
    _run(source, out)
    with pytest.raises(
        ValueError, match=r"exists already; replace it with --overwrite"
    ):
        _run(source, out)
    _run(source, out, overwrite=True, recipe=Recipe(image_size=(16, 16)))
    assert PreparedDataset.open(out).image_size == (16, 16)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(
        ValueError, match=r"is not a prepared folder .* not overwritten"
    ):
        _run(source, other, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--out=.*file: is a file"):
        _run(source, tmp_path / "file", overwrite=True)


def _tree(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("place", ["in", ".", "in/P0", "in/new", "in/P0/.."])
def test_overwrite_never_takes_the_source(tmp_path, place):
    """Any manifest.json there made --overwrite delete the raw data."""
    source = write_small_set(tmp_path / "in", count=1)
    (tmp_path / "thesis.txt").write_text("x")
    for folder in (source, tmp_path, source / "P0"):
        (folder / "manifest.json").write_text(f'{{"format": "{FORMAT}"}}')
    before = _tree(tmp_path)
    with pytest.raises(ValueError, match="overlap, so what is read could be over"):
        _run(source, tmp_path / place, overwrite=True)
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("option", ["table", "split"])
def test_overwrite_never_takes_a_table(tmp_path, option):
    source = write_small_set(tmp_path / "in", count=1)
    out = tmp_path / "out"
    _run(source, out)
    moved = {"table": next(source.glob("*info*.csv")), "split": source / "split.csv"}
    path = out / "t.csv"
    path.write_bytes(moved[option].read_bytes())
    with pytest.raises(ValueError, match="overlap"):
        _run(source, out, overwrite=True, **{option: path})
    assert path.is_file()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thesis.txt", "x"),
        ("manifest.json", '{"format": "of another program"}'),
        ("manifest.json", "[]"),
    ],
)
def test_overwrite_takes_only_what_we_wrote(tmp_path, name, content):
    source = write_small_set(tmp_path / "in", count=1)
    out = tmp_path / "out"
    _run(source, out)
    (out / name).write_text(content)
    before = _tree(out)
    with pytest.raises(ValueError, match=r"is not a prepared folder .* other files"):
        _run(source, out, overwrite=True)
    assert _tree(out) == before


def test_a_damaged_prepared_folder_is_overwritten(tmp_path):
    source = write_small_set(tmp_path / "in", count=1)
    _run(source, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text("{")
    _run(source, tmp_path / "out", overwrite=True)
    PreparedDataset.open(tmp_path / "out")


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path):
    source = write_small_set(tmp_path / "in", count=1)
    plan = preconvert.plan_preparation("mnms", source, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        preconvert.run_preparation(plan, RECIPE)
    assert os.listdir(tmp_path / "out") == []


def test_simulated_keeps_the_multi_tissue_schema(tmp_path):
    source = write_small_set(tmp_path / "in", count=1)
    kind = DATASETS["simulated"]
    recipe = Recipe(kind.label_ids, kind.schema, image_size=(32, 32))
    _run(source, tmp_path / "out", recipe=recipe, dataset="simulated")
    assert PreparedDataset.open(tmp_path / "out").schema.name == "multi_tissue"
    with pytest.raises(ValueError, match=r"no data set 'emidec'; there are mnms, a"):
        _run(source, tmp_path / "b", dataset="emidec")


def test_nominal_spacing_is_counted(tmp_path):
    source = write_small_set(tmp_path / "in", count=2)
    recipe = Recipe(
        image_size=(32, 32), nominal_spacing=True, nominal_except=frozenset("XP")
    )
    summary, lines = _run(source, tmp_path / "out", recipe=recipe)
    assert lines == ["--nominal-spacing-except: no such subject: P, X"]
    assert "nominal spacing: 2 of 2 subjects" in describe(summary)
    assert PreparedDataset.open(tmp_path / "out").manifest["nominal_spacing"] is True


@pytest.mark.development_data
def test_real_subjects(tmp_path, development_data):
    """Three uncropped subjects: true spacing, oblique affines."""
    source = development_data / "data" / "mnms_native_spacing"
    summary, _ = _run(source, tmp_path / "out", recipe=Recipe())
    assert summary.problems == []
    data = PreparedDataset.open(tmp_path / "out")
    data.validate_labels()
    assert data.schema == CAVITY
    for volume in data.volumes:
        affine = np.asarray(volume["affine"])
        zooms = np.linalg.norm(affine[:3, :3], axis=0)
        np.testing.assert_allclose(zooms[:2], 1.33, rtol=1e-3)
        assert volume["native_shape"][0] >= volume["num_slices"] > 5
    shares = summary.class_pixels / summary.class_pixels.sum()
    assert (shares[1:] > 0.005).all()


def test_gz_damage_after_the_last_used_byte_is_found(tmp_path):
    """The check sum at the end of the gzip data is read, not only the values."""
    source = write_small_set(tmp_path / "in", count=2)
    path = source / "P0" / "P0_sa_gt.nii.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(EOFError):
        gzip.decompress(path.read_bytes())
    summary, _ = _run(source, tmp_path / "out")
    assert "P0_sa_gt.nii.gz: gzip data are truncated" in summary.problems[0]


def test_another_way_to_prepare_and_more_files(tmp_path):
    """What label_real uses: own subjects, files beside the arrays, more provenance."""
    source = write_small_set(tmp_path / "in", count=2)
    plan = preconvert.plan_preparation("mnms", source, tmp_path / "out")
    asked = []

    def prepare(record, recipe, *, labels_expected):
        asked.append((record.subject, labels_expected))
        pair = dataclasses.replace(record.pairs[0], label_path=None)
        without = dataclasses.replace(record, pairs=(pair,))
        ones = np.ones((4, 32, 32), np.uint8)
        return prepare_subject(
            without, recipe, labeller=lambda _: ones, with_labels=False
        )

    def complete(folder, summary):
        assert (folder / "manifest.json").is_file()
        (folder / "report.txt").write_text(f"{len(summary.slices)} slices")

    preconvert.run_preparation(
        plan, RECIPE, prepare=prepare, complete=complete, settings={"model": "abc"}
    )
    assert asked == [("P0", True), ("P1", True)]
    assert (tmp_path / "out" / "report.txt").read_text() == "16 slices"
    data = PreparedDataset.open(tmp_path / "out", verify="full")
    assert (data.labels[:] == 1).all()
    assert data.manifest["provenance"]["config"]["model"] == "abc"
