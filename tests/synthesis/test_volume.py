"""One label file: images, labels, record, warnings, refusals."""

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data.geometry import GridMap
from cmrjax.data.intensity import ClipTransform
from cmrjax.files import sha256_file
from cmrjax.synthesis.sample import synthesize
from cmrjax.synthesis.volume import (
    Synthesizer,
    case_name,
    is_finished,
    synthesize_file,
)
from tests.synthesis.label_files import AFFINE, draw_labels, write_labels
from tests.synthesis.tiny_models import make_params


@pytest.fixture(scope="module")
def synthesizer():
    return Synthesizer.create(make_params(), batch_size=1)


@pytest.fixture
def label_path(tmp_path):
    return write_labels(tmp_path / "case_gt.nii.gz", draw_labels())


def read(path):
    """Values in the file's own axes (x, y, z) and the affine, by nibabel alone."""
    image = nib.Nifti1Image.from_filename(path)
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("A1_sa_gt.nii.gz", "A1_sa"),
        ("deep/patient001_frame01_gt.nii", "patient001_frame01"),
        ("labels.nii.gz", "labels"),
        ("_gt.nii.gz", "_gt"),
    ],
)
def test_case_name(file, name):
    assert case_name(file) == name


def test_three_axes_give_one_pair(tmp_path, label_path, synthesizer):
    out = tmp_path / "out"
    assert synthesize_file(label_path, out, synthesizer) == []
    assert sorted(p.name for p in out.iterdir()) == [
        "case.json",
        "case.nii.gz",
        "case_gt.nii.gz",
    ]
    image, affine = read(out / "case.nii.gz")
    labels, label_affine = read(out / "case_gt.nii.gz")
    np.testing.assert_array_equal(labels, draw_labels())
    assert (image.dtype, labels.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(affine, AFFINE)
    np.testing.assert_array_equal(label_affine, AFFINE)
    zooms = nib.Nifti1Image.from_filename(out / "case.nii.gz").header.get_zooms()
    np.testing.assert_allclose(zooms, (1.33, 1.33, 9.0), rtol=1e-6)
    # rows are the file's second axis, columns its first, slices its third
    expected = synthesize(draw_labels().transpose(2, 1, 0), synthesizer.params)
    np.testing.assert_allclose(image.transpose(2, 1, 0), expected, atol=2e-5)
    assert image.std() > 0.01
    assert image[:, :, 2].std() > 0  # a slice without labels is generated too


def test_each_frame_with_labels_gives_a_pair(tmp_path, synthesizer):
    frames = np.zeros((20, 30, 3, 4), np.uint8)
    frames[..., 1] = draw_labels()
    frames[..., 3] = draw_labels()[::-1]
    path = write_labels(tmp_path / "s_sa_gt.nii.gz", frames)
    synthesize_file(path, tmp_path / "out", synthesizer)
    stems = ("s_sa_frame01", "s_sa_frame03")
    files = [f"{stem}{end}" for stem in stems for end in (".nii.gz", "_gt.nii.gz")]
    found = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert found == sorted([*files, "s_sa.json"])
    for t, stem in zip((1, 3), stems, strict=True):
        labels, affine = read(tmp_path / "out" / f"{stem}_gt.nii.gz")
        np.testing.assert_array_equal(labels, frames[..., t])
        np.testing.assert_array_equal(affine, AFFINE)
        assert read(tmp_path / "out" / f"{stem}.nii.gz")[0].shape == (20, 30, 3)
    record = json.loads((tmp_path / "out" / "s_sa.json").read_text())
    assert record["label"]["labelled_frames"] == [1, 3]


def test_the_record_says_what_went_in(tmp_path, label_path, synthesizer):
    synthesize_file(label_path, tmp_path / "out", synthesizer)
    record = json.loads((tmp_path / "out" / "case.json").read_text())
    assert record["label"]["sha256"] == sha256_file(label_path)
    assert record["label"]["shape"] == [20, 30, 3, 1]
    assert record["model"]["step"] == 7
    assert record["model"]["path"] == "drawn"
    assert record["model"]["sha256"] == synthesizer.model_sha256
    assert record["code"]["package"]
    assert record["command"]
    for name, sha256 in record["outputs"].items():
        assert sha256_file(tmp_path / "out" / name) == sha256


def test_finished_means_same_labels_model_settings_and_whole(
    tmp_path, label_path, synthesizer
):
    out = tmp_path / "out"
    assert not is_finished(label_path, out, synthesizer)
    synthesize_file(label_path, out, synthesizer)
    assert is_finished(label_path, out, synthesizer)
    # the same model from another place, and another batch size, change nothing
    assert is_finished(label_path, out, Synthesizer.create(make_params(step=9)))
    other_model = Synthesizer.create(make_params(seed=1))
    assert not is_finished(label_path, out, other_model)
    other_ids = Synthesizer.create(make_params(), label_source="mnms")
    assert not is_finished(label_path, out, other_ids)
    other_dtype = Synthesizer.create(make_params(), dtype="bfloat16")
    assert not is_finished(label_path, out, other_dtype)
    (out / "case.nii.gz").write_bytes(b"damaged")
    assert not is_finished(label_path, out, synthesizer)
    synthesize_file(label_path, out, synthesizer)
    write_labels(label_path, draw_labels()[::-1])
    assert not is_finished(label_path, out, synthesizer)
    (out / "case.json").write_text("[]")
    assert not is_finished(label_path, out, synthesizer)


def test_outputs_of_an_earlier_version_go(tmp_path, synthesizer):
    path, out = tmp_path / "case_gt.nii.gz", tmp_path / "out"
    write_labels(path, np.stack([draw_labels()] * 2, axis=-1))
    synthesize_file(path, out, synthesizer)
    (out / "case_notes.txt").write_text("mine")
    write_labels(path, draw_labels())
    synthesize_file(path, out, synthesizer)
    assert sorted(p.name for p in out.iterdir()) == [
        "case.json",
        "case.nii.gz",
        "case_gt.nii.gz",
        "case_notes.txt",
    ]


def world(affine, *index):
    """Millimetres of a voxel index (x, y, z)."""
    return affine @ np.array([*index, 1.0])


OTHER = np.array(  # 2 x 1.6 x 9 mm, turned and shifted
    [[0, -1.6, 0, 30], [2, 0, 0, -20], [0, 0, 9, 5], [0, 0, 0, 1]], np.float32
).astype(np.float64)


def test_other_pixel_sizes_are_resampled_there_and_back(tmp_path, synthesizer):
    """What the model sees is the label at its spacing; the image is the label's."""
    path = write_labels(tmp_path / "a_gt.nii.gz", draw_labels(), affine=OTHER)
    assert synthesize_file(path, tmp_path / "out", synthesizer) == []
    image, affine = read(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_array_equal(affine, OTHER)
    labels, _ = read(tmp_path / "out" / "a_gt.nii.gz")
    np.testing.assert_array_equal(labels, draw_labels())
    assert image.shape == draw_labels().shape
    grid = GridMap((30, 20), (1.6, 2.0), (1.33, 1.33), (36, 30))
    seen = grid.labels_to_model(draw_labels().transpose(2, 1, 0))
    expected = grid.image_to_native(synthesize(seen, synthesizer.params))
    np.testing.assert_allclose(image.transpose(2, 1, 0), expected, atol=2e-5)
    public = synthesize(
        draw_labels().transpose(2, 1, 0), synthesizer.params, spacing=(1.6, 2.0)
    )
    np.testing.assert_allclose(public, expected, atol=2e-5)
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["grid"] == {
        "of_the_outputs": "label",
        "label_pixels": [30, 20],
        "label_spacing": [1.6, 2.0],
        "model_pixels": [36, 30],
        "model_spacing": [1.33, 1.33],
    }


def test_on_the_models_grid_every_voxel_keeps_its_place(tmp_path):
    synthesizer = Synthesizer.create(make_params(), grid="model")
    path = write_labels(tmp_path / "a_gt.nii.gz", draw_labels(), affine=OTHER)
    synthesize_file(path, tmp_path / "out", synthesizer)
    image, affine = read(tmp_path / "out" / "a.nii.gz")
    labels, label_affine = read(tmp_path / "out" / "a_gt.nii.gz")
    assert affine is not None
    assert image.shape == labels.shape == (30, 36, 3)  # 20 * 2 / 1.33, 30 * 1.6 / 1.33
    np.testing.assert_array_equal(affine, label_affine)
    np.testing.assert_allclose(
        np.linalg.norm(affine[:3, :3], axis=0), (1.33, 1.33, 9.0), rtol=1e-6
    )
    middle = world(OTHER, 9.5, 14.5, 1)  # of the field of view
    np.testing.assert_allclose(world(affine, 14.5, 17.5, 1), middle, atol=1e-5)


def test_a_spacing_that_is_given_counts_and_an_unknown_one_is_refused(tmp_path):
    path = tmp_path / "a_gt.nii"
    image = nib.Nifti1Image(draw_labels(), None)
    path.write_bytes(image.to_bytes())
    unknown = Synthesizer.create(make_params())
    with pytest.raises(ValueError, match="does not tell the pixel size") as error:
        synthesize_file(path, tmp_path / "out", unknown)
    assert str(error.value).startswith(str(path))
    assert "--spacing=MM" in str(error.value)
    given = Synthesizer.create(make_params(), spacing=(2.66, 2.66), grid="model")
    synthesize_file(path, tmp_path / "out", given)
    image, affine = read(tmp_path / "out" / "a.nii.gz")
    assert image.shape == (40, 60, 3)
    np.testing.assert_allclose(_zooms(affine), (1.33, 1.33, 1.0), rtol=1e-6)
    as_it_is = Synthesizer.create(make_params(), spacing=(2.66, 1.2))
    synthesize_file(path, tmp_path / "as_it_is", as_it_is)
    image, affine = read(tmp_path / "as_it_is" / "a.nii.gz")
    assert image.shape == draw_labels().shape
    np.testing.assert_allclose(_zooms(affine), (1.2, 2.66, 1.0), rtol=1e-6)
    middle = world(nib.Nifti1Image.from_filename(path).affine, 9.5, 14.5, 1)
    np.testing.assert_allclose(world(affine, 9.5, 14.5, 1), middle, atol=1e-4)


def test_a_header_that_looks_unset_is_said(tmp_path, synthesizer):
    path = write_labels(tmp_path / "a_gt.nii.gz", draw_labels(), affine=np.eye(4))
    (line,) = synthesize_file(path, tmp_path / "out", synthesizer)
    assert line.startswith(f"{path}: the header says 1 x 1 x 1 mm")
    given = Synthesizer.create(synthesizer.params, spacing=(1.33, 1.33))
    assert synthesize_file(path, tmp_path / "given", given) == []


def test_intensities(tmp_path, label_path):
    plain = Synthesizer.create(make_params())
    synthesize_file(label_path, tmp_path / "model", plain)
    base, _ = read(tmp_path / "model" / "case.nii.gz")
    synthesize_file(
        label_path,
        tmp_path / "12",
        Synthesizer.create(make_params(), intensity="uint12"),
    )
    values, _ = read(tmp_path / "12" / "case.nii.gz")
    assert values.dtype == np.int16
    np.testing.assert_allclose(values, (base + 1) / 2 * 4095, atol=0.5 + 1e-3)
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 700, (9, 8, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(reference, AFFINE), tmp_path / "real.nii.gz")
    like = Synthesizer.create(make_params(), intensity=str(tmp_path / "real.nii.gz"))
    synthesize_file(label_path, tmp_path / "like", like)
    values, _ = read(tmp_path / "like" / "case.nii.gz")
    low, high = np.percentile(reference, [1, 99])
    np.testing.assert_allclose(
        values, low + (base + 1) / 2 * (high - low), atol=0.5 + 1e-3
    )
    record = json.loads((tmp_path / "like" / "case.json").read_text())
    assert f"{low:g} to {high:g}" in record["intensity"]
    assert not is_finished(label_path, tmp_path / "like", plain)


def test_an_intensity_reference_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        Synthesizer.create(make_params(), intensity="uint16")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 2)), AFFINE), tmp_path / "flat.nii")
    with pytest.raises(ValueError, match=r"flat.nii: percentiles .* constant"):
        Synthesizer.create(make_params(), intensity=str(tmp_path / "flat.nii"))


def test_batch_statistics_are_those_of_the_volume(tmp_path, label_path):
    batch = Synthesizer.create(make_params(), statistics="batch", batch_size=1)
    synthesize_file(label_path, tmp_path / "out", batch)
    image, _ = read(tmp_path / "out" / "case.nii.gz")
    stack = draw_labels().transpose(2, 1, 0)
    expected = synthesize(stack, batch.params, statistics="batch")
    np.testing.assert_allclose(image.transpose(2, 1, 0), expected, atol=2e-5)
    running = synthesize(stack, batch.params)
    assert np.abs(running - expected).max() > 1e-3


def _zooms(affine):
    return np.linalg.norm(affine[:3, :3], axis=0)


def _contradictory(path, pixdim):
    """A file whose voxel size is another than that of its affine."""
    image = nib.Nifti1Image(draw_labels(), AFFINE)
    image.set_qform(AFFINE, "scanner")
    raw = bytearray(image.to_bytes())
    raw[80:92] = np.asarray(pixdim, np.float32).tobytes()  # to_bytes would mend it
    path.write_bytes(raw)
    return path


def test_a_header_that_contradicts_its_affine_is_said(tmp_path, synthesizer):
    path = _contradictory(tmp_path / "a_gt.nii", (1.33, 1.33, 8))
    (line,) = synthesize_file(path, tmp_path / "out", synthesizer)
    assert "1.33 x 1.33 x 8 mm in the header, which is used, and 1.33 x 1.33 x " in line
    assert line.endswith("the outputs lie on the label file as it is")


def test_outputs_keep_the_geometry_of_the_labels_header(tmp_path, synthesizer):
    path = _contradictory(tmp_path / "a_gt.nii", (2.0, 1.6, 8))
    synthesize_file(path, tmp_path / "out", synthesizer)
    before = nib.Nifti1Image.from_filename(path).header
    for name in ("a.nii.gz", "a_gt.nii.gz"):
        after = nib.Nifti1Image.from_filename(tmp_path / "out" / name).header
        for field in ("srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
            np.testing.assert_array_equal(after[field], before[field])
        np.testing.assert_array_equal(after["pixdim"][:4], before["pixdim"][:4])
        assert after["qform_code"] == before["qform_code"] == 1
        assert after["sform_code"] == before["sform_code"]


def test_the_models_pixels_have_the_models_size_whatever_the_affine_says(tmp_path):
    synthesizer = Synthesizer.create(make_params(), grid="model")
    path = _contradictory(tmp_path / "a_gt.nii", (2.0, 1.6, 8))
    (line,) = synthesize_file(path, tmp_path / "out", synthesizer)
    assert line.endswith("so they do not lie on the label file")
    image, affine = read(tmp_path / "out" / "a.nii.gz")
    assert image.shape == (30, 36, 3)
    np.testing.assert_allclose(_zooms(affine), (1.33, 1.33, 8.0), rtol=1e-6)
    centre = world(AFFINE, 9.5, 14.5, 1)
    np.testing.assert_allclose(world(affine, 14.5, 17.5, 1), centre, atol=1e-4)


def test_channels_are_averaged(tmp_path, label_path):
    params = make_params(out_channels=3)
    synthesize_file(label_path, tmp_path / "out", Synthesizer.create(params))
    image, _ = read(tmp_path / "out" / "case.nii.gz")
    colours = synthesize(draw_labels().transpose(2, 1, 0), params)
    assert colours.shape == (3, 30, 20, 3)
    np.testing.assert_allclose(image.transpose(2, 1, 0), colours.mean(-1), atol=2e-5)


def test_clipped_models_get_the_range_of_a_reference(tmp_path, label_path):
    params = make_params()
    description = dataclasses.replace(params.description, transform=ClipTransform())
    params = dataclasses.replace(params, description=description)
    reference = np.linspace(-900, -600, 400, dtype=np.int16).reshape(20, 10, 2)
    nib.save(nib.Nifti1Image(reference, AFFINE), tmp_path / "real.nii.gz")
    like = Synthesizer.create(params, intensity=str(tmp_path / "real.nii.gz"))
    synthesize_file(label_path, tmp_path / "like", like)
    values, _ = read(tmp_path / "like" / "case.nii.gz")
    np.testing.assert_allclose(
        np.percentile(values, [1, 99]), np.percentile(reference, [1, 99]), atol=1
    )


def test_a_reference_beyond_all_scanners_is_refused(tmp_path):
    huge = np.arange(400, dtype=np.int64).reshape(20, 10, 2) << 50
    nib.save(nib.Nifti1Image(huge, AFFINE, dtype=np.int64), tmp_path / "huge.nii")
    with pytest.raises(ValueError, match=r"huge.nii: its values go from .*e\+17, be"):
        Synthesizer.create(make_params(), intensity=str(tmp_path / "huge.nii"))


def test_what_cannot_be_used_is_said_in_one_line_with_the_file(tmp_path, synthesizer):
    wrong = draw_labels()
    wrong[4, 5, 1] = 9
    files = {
        "slice 1 holds label id 9": wrong,
        "holds background only, in all 2 frame": np.zeros((8, 8, 2, 2), np.uint8),
        "holds the value 0.5, expected whole": np.full((8, 8, 2), 0.5, np.float32),
    }
    for text, values in files.items():
        path = write_labels(tmp_path / "bad_gt.nii.gz", values)
        with pytest.raises(ValueError, match=text) as caught:
            synthesize_file(path, tmp_path / "out", synthesizer)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_model_that_returns_nan_writes_nothing(tmp_path, label_path):
    params = make_params()
    params.variables["params"]["conv_img"]["bias"][:] = np.nan
    with pytest.raises(
        ValueError, match="the model drawn returns NaN; take an earlier"
    ):
        synthesize_file(label_path, tmp_path / "out", Synthesizer.create(params))
    assert not (tmp_path / "out").exists()


def test_settings_are_checked():
    with pytest.raises(ValueError, match="batch size is 0; expected at least 1"):
        Synthesizer.create(make_params(), batch_size=0)


@pytest.mark.development_data
def test_real_labels_keep_affine_shape_and_axes(tmp_path, development_data):
    source = development_data / "data/mnms/A1D9Z7/A1D9Z7_sa_gt.nii.gz"
    synthesizer = Synthesizer.create(make_params(), label_source="mnms", batch_size=8)
    assert synthesize_file(source, tmp_path, synthesizer) == []
    labels, affine = read(source)
    for t in (0, 1):
        image, image_affine = read(tmp_path / f"A1D9Z7_sa_frame0{t}.nii.gz")
        np.testing.assert_array_equal(image_affine, affine)
        assert image.shape == labels.shape[:3]
        assert np.abs(image).max() <= 1
