"""One subject: values, slices, padding, and a line for each thing that is wrong."""

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data.intensity import PercentileTransform
from cmrjax.data.mnms import find_subjects
from cmrjax.data.subject import Recipe, prepare_subject
from cmrjax.labels import MULTI_TISSUE, SOURCE_LABELS
from tests.data.mnms_tree import make_arrays, write_subject, write_table

RECIPE = Recipe(image_size=(32, 32))


def _record(folder, *, phases=(0, 1), **arrays):
    write_subject(folder, "P0", **arrays)
    write_table(folder / "t.csv", {"P0": ("A", 1, *phases)})
    return find_subjects(folder).records[0]


def test_values_of_a_subject_on_the_model_grid(tmp_path):
    images, labels = make_arrays()
    result = prepare_subject(_record(tmp_path), RECIPE)
    assert not result.problems
    assert not result.notices
    assert [v.description["phase"] for v in result.volumes] == ["ED", "ES"]
    volume = result.volumes[1]
    assert volume.slices == (1, 2, 3)  # slice 0 has no heart
    assert volume.valid_box == (6, 26, 4, 28)  # 20 rows (y) and 24 columns (x)
    native = PercentileTransform().apply(images[..., 1].T)
    np.testing.assert_array_equal(volume.images[:, 6:26, 4:28], native[1:])
    np.testing.assert_array_equal(
        volume.labels[:, 6:26, 4:28], labels[:, :, 1:, 1].transpose(2, 1, 0)
    )
    outside = np.ones((32, 32), bool)
    outside[6:26, 4:28] = False
    assert (volume.images[:, outside] == -1).all()
    assert (volume.labels[:, outside] == 0).all()
    assert volume.description["spacing"] == [10.0, 1.33, 1.33]
    assert volume.description["intensity_limits"] == pytest.approx(
        np.percentile(images[..., 1], [1, 99])
    )


def test_all_slices_are_kept_where_the_recipe_says_so(tmp_path):
    """Those without heart too, in their order; a subject without any is no subject."""
    record = _record(tmp_path)
    recipe = Recipe(image_size=(32, 32), all_slices=True)
    kept = prepare_subject(record, RECIPE).volumes
    for every, heart in zip(prepare_subject(record, recipe).volumes, kept, strict=True):
        assert every.slices == (0, 1, 2, 3)
        np.testing.assert_array_equal(every.images[1:], heart.images)
        np.testing.assert_array_equal(every.labels[1:], heart.labels)
        assert not every.labels[0].any()
        assert every.images[0].std() > 0
        assert every.description == heart.description
    labels = make_arrays()[1]
    labels[..., 1] = 0
    result = prepare_subject(_record(tmp_path / "other", labels=labels), recipe)
    assert [v.description["phase"] for v in result.volumes] == ["ED"]
    assert "(ES) has no heart label" in result.problems[0]


def test_affine_of_the_prepared_volume(tmp_path):
    """The label's centre of mass has the same world coordinates before and after."""
    result = prepare_subject(_record(tmp_path, zooms=(0.9, 1.6, 8.0)), RECIPE)
    volume = result.volumes[0]
    native_labels = make_arrays()[1][..., 0]
    x, y = (a.mean() for a in np.nonzero(native_labels[:, :, 1])[:2])
    row, column = (a.mean() for a in np.nonzero(volume.labels[0]))
    world = np.asarray(volume.description["affine"]) @ [column, row, 1, 1]
    native = np.asarray(volume.description["native_affine"]) @ [x, y, 1, 1]
    np.testing.assert_allclose(world, native, atol=0.7)
    sizes = np.linalg.norm(np.asarray(volume.description["affine"])[:3, :3], axis=0)
    np.testing.assert_allclose(sizes, [1.33, 1.33, 8.0], rtol=1e-6)
    assert world[2] == native[2] == 8.0


def test_labels_of_other_frames_are_ignored(tmp_path):
    images, labels = make_arrays(shape=(24, 20, 4, 5))
    labels[..., 4] = 77  # not a label, and not a frame that is used
    record = _record(tmp_path, images=images, labels=labels, phases=(1, 3))
    result = prepare_subject(record, RECIPE)
    assert not result.problems
    assert [v.description["frame"] for v in result.volumes] == [1, 3]


def test_simulated_labels_keep_all_classes(tmp_path):
    labels = make_arrays()[1]
    labels[:3, :, 1:] = 6
    labels[-3:, :, 1:] = 4
    recipe = Recipe(
        label_ids=SOURCE_LABELS["simulated"], schema=MULTI_TISSUE, image_size=(32, 32)
    )
    result = prepare_subject(_record(tmp_path, labels=labels), recipe)
    assert set(np.unique(result.volumes[0].labels)) == {0, 1, 2, 3, 4, 6}


def test_nominal_spacing_is_recorded_by_subject(tmp_path):
    record = _record(tmp_path)
    for exceptions, expected in ((frozenset(), True), (frozenset({"P0"}), False)):
        recipe = Recipe(
            image_size=(32, 32), nominal_spacing=True, nominal_except=exceptions
        )
        facts = prepare_subject(record, recipe).volumes[0].description
        assert facts["nominal_spacing"] is expected


def _without_labels(folder):
    return _record(folder, labels=np.zeros((24, 20, 4, 2), np.uint8))


@pytest.mark.parametrize(
    ("place", "expected"), [("", False), ("Training/Unlabeled", True)]
)
def test_no_labels_at_all_is_not_a_problem_where_none_are_expected(
    tmp_path, place, expected
):
    record = _without_labels(tmp_path / place)
    result = prepare_subject(record, RECIPE, labels_expected=expected)
    assert result.unlabelled
    assert not result.problems
    assert not result.volumes


def test_no_labels_at_all_is_a_problem_where_labels_are_expected(tmp_path):
    record = _without_labels(tmp_path)
    result = prepare_subject(record, RECIPE)
    assert not result.unlabelled
    assert not result.volumes
    assert result.problems == [
        f"{record.pairs[0].label_path}: holds background only, but P0 is one of the"
        " labelled subjects; fetch it again or leave the subject out"
    ]


def _bad(case):
    images, labels = make_arrays()
    floats = images.astype(np.float32)
    if case == "nan":
        floats[3, 4, 2, 1] = np.nan
        return {"images": floats}
    if case == "constant":
        images[..., 1] = 5
        return {"images": images}
    if case == "shape":
        return {"labels": labels[:-1]}
    if case == "depth":
        return {"labels": labels[..., 0]}
    if case == "id":
        labels[2, 3, 2, 1] = 9
        return {"labels": labels}
    if case == "fraction":
        return {"labels": labels * np.float32(0.5)}
    if case == "one phase":
        labels[..., 1] = 0
        return {"labels": labels}
    if case == "frame":
        return {"phases": (0, 2)}
    assert case == "crop"
    labels = np.zeros_like(labels)
    labels[:2, :2] = 1
    return {"labels": labels}


@pytest.mark.parametrize(
    ("case", "lines", "volumes"),
    [
        ("nan", ["P0_sa.nii.gz: frame 1 (ES): 1 of 1920 values are NaN or infin"], 1),
        (
            "constant",
            ["P0_sa.nii.gz: frame 1 (ES): percentiles 1 and 99 are both 5"],
            1,
        ),
        ("shape", ["P0_sa_gt.nii.gz: has shape 23x20x4x2, the image P0_sa.nii.gz"], 0),
        ("depth", ["P0_sa_gt.nii.gz: has shape 24x20x4x1, the image"], 0),
        ("id", ["P0_sa_gt.nii.gz, ES: slice 2 holds label id 9 (1 pixels in all)"], 1),
        ("fraction", ["ED: holds the value 0.5", "ES: holds the value 0.5"], 0),
        ("one phase", ["P0_sa_gt.nii.gz: frame 1 (ES) has no heart label; check"], 1),
        ("frame", ["P0_sa_gt.nii.gz: the table puts ES at frame 2, the file has 2"], 0),
        ("crop", ["ED: the central crop to 12x12 leaves no heart", "ES: the cen"], 0),
    ],
)
def test_each_fault_is_one_line_and_the_rest_is_prepared(
    tmp_path, case, lines, volumes
):
    recipe = Recipe(image_size=(12, 12)) if case == "crop" else RECIPE
    result = prepare_subject(_record(tmp_path, **_bad(case)), recipe)
    assert len(result.problems) == len(lines)
    for line, expected in zip(result.problems, lines, strict=True):
        assert expected in line
        assert str(tmp_path) in line
        assert "\n" not in line
    assert len(result.volumes) == volumes


def test_table_with_wrong_frames_says_which_are_labelled(tmp_path):
    images, labels = make_arrays(shape=(24, 20, 4, 6))
    labels[..., :4] = 0
    record = _record(tmp_path, images=images, labels=labels, phases=(0, 2))
    (line,) = prepare_subject(record, RECIPE).problems
    assert "has labels at frame(s) 4, 5, but the table says ED 0, ES 2" in line


def test_missing_label_file_is_a_problem_except_where_none_is_expected(tmp_path):
    for code, subset in (("P0", "Training/Labeled"), ("P1", "Training/Unlabeled")):
        folder = write_subject(tmp_path / subset, code)
        (folder / f"{code}_sa_gt.nii.gz").unlink()
    write_table(tmp_path / "t.csv", {c: ("A", 1, 0, 1) for c in ("P0", "P1")})
    labelled, unlabelled = find_subjects(tmp_path).records
    (line,) = prepare_subject(labelled, RECIPE).problems
    assert "has no label file beside it, expected P0_sa_gt.nii.gz" in line
    result = prepare_subject(unlabelled, RECIPE)
    assert result.unlabelled
    assert not result.problems


def test_notices_of_headers_and_of_a_crop_through_the_heart(tmp_path):
    record = _record(tmp_path)
    affine = np.diag([1.33, 1.33, 10.0, 1.0])
    affine[0, 3] = 0.5
    _rewrite_labels(record, affine)
    result = prepare_subject(record, Recipe(image_size=(8, 8)))
    assert len(result.volumes) == 2
    assert "its affine is not the image's" in result.notices[0]
    assert "ED: the crop to 8x8 cuts the heart" in result.notices[1]


def _rewrite_labels(record, affine, turn=lambda voxels: voxels):
    path = record.pairs[0].label_path
    voxels = turn(np.asarray(nib.Nifti1Image.load(path).dataobj))
    nib.save(nib.Nifti1Image(np.ascontiguousarray(voxels), affine), path)


def test_labels_that_are_stored_mirrored_are_turned_onto_the_image(tmp_path):
    """Same anatomy, the other way along x, as the label's affine says."""
    straight = prepare_subject(_record(tmp_path / "a"), RECIPE)
    record = _record(tmp_path / "b")
    affine = np.diag([-1.33, 1.33, 10.0, 1.0])
    affine[0, 3] = 23 * 1.33
    _rewrite_labels(record, affine, lambda voxels: voxels[::-1])
    result = prepare_subject(record, RECIPE)
    assert not result.problems
    (notice,) = result.notices
    assert "the labels are turned onto the image's grid" in notice
    for volume, expected in zip(result.volumes, straight.volumes, strict=True):
        np.testing.assert_array_equal(volume.labels, expected.labels)
        np.testing.assert_array_equal(volume.images, expected.images)


def test_labels_of_another_voxel_size_are_refused(tmp_path):
    record = _record(tmp_path)
    _rewrite_labels(record, np.diag([1.5, 1.33, 10.0, 1.0]))
    result = prepare_subject(record, RECIPE)
    assert not result.volumes
    (line,) = result.problems
    assert "its voxels are 1.5 x 1.33 x 10 mm, those of the image P0_sa.nii.gz" in line


def test_all_that_is_wrong_is_said_not_only_the_first(tmp_path):
    """Image and labels are looked at each for itself, and each phase."""
    images, labels = make_arrays()
    floats = images.astype(np.float32)
    floats[3, 4, 2] = np.nan
    labels[2, 3, 2, 1] = 9
    record = _record(tmp_path, images=floats, labels=labels)
    lines = prepare_subject(record, RECIPE).problems
    expected = ["ED): 1 of 1920 values are NaN", "ES: slice 2 holds label id 9"]
    expected += ["ES): 1 of 1920 values are NaN"]
    assert len(lines) == 3
    assert all(e in line for e, line in zip(expected, lines, strict=True)), lines
    record.pairs[0].image_path.write_bytes(b"")
    lines = prepare_subject(record, RECIPE).problems
    assert ["file is empty" in lines[0], "label id 9" in lines[1]] == [True, True]
    record = _record(tmp_path, images=floats)
    assert record.pairs[0].label_path is not None
    record.pairs[0].label_path.write_bytes(b"")
    lines = prepare_subject(record, RECIPE).problems
    assert ["gt.nii.gz: file is empty" in lines[0], len(lines)] == [True, 3]


def test_two_phases_at_one_frame_are_both_refused(tmp_path):
    result = prepare_subject(_record(tmp_path, phases=(1, 1)), RECIPE)
    assert not result.volumes
    (line,) = result.problems
    assert "P0_sa.nii.gz: frame 1 is both ED and ES of P0; correct" in line


def test_a_labeller_decides_labels_and_slices(tmp_path):
    """It gets the native phase; the slices in which it puts heart are kept."""
    seen = []

    def labeller(native):
        seen.append((native.phase, native.frame, native.volume.shape))
        assert native.labels is not None
        assert native.labels.any()
        labels = np.zeros((4, 32, 32), np.uint8)
        labels[:, 20, 20] = 7
        labels[2, 10, 10] = 1
        return labels

    recipe = Recipe(schema=MULTI_TISSUE, image_size=(32, 32))
    result = prepare_subject(_record(tmp_path), recipe, labeller=labeller)
    assert seen == [("ED", 0, (4, 20, 24)), ("ES", 1, (4, 20, 24))]
    for volume in result.volumes:
        assert volume.slices == (2,)
        assert sorted(np.unique(volume.labels)) == [0, 1, 7]
        assert volume.images.shape == (1, 32, 32)


def test_without_labels_the_file_is_not_read(tmp_path):
    record = _record(tmp_path)
    assert record.pairs[0].label_path is not None
    record.pairs[0].label_path.unlink()

    def labeller(native):
        assert native.labels is None
        return np.full((4, 32, 32), native.frame, np.uint8)  # ED 0: no heart

    result = prepare_subject(record, RECIPE, labeller=labeller, with_labels=False)
    (volume,) = result.volumes
    assert volume.description["phase"] == "ES"
    assert volume.description["label_sha256"] is None
    (line,) = result.problems
    assert "P0_sa.nii.gz: frame 0 (ED): no heart is found in any slice; check" in line


def test_without_labels_the_frames_of_the_table_are_checked(tmp_path):
    record = _record(tmp_path, phases=(0, 2))
    result = prepare_subject(
        record, RECIPE, labeller=lambda native: np.ones(1), with_labels=False
    )
    (line,) = result.problems
    assert "P0_sa.nii.gz: the table puts ES at frame 2, the file has 2" in line
