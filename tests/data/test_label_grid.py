"""Labels that are stored along other axes than their image, or lie elsewhere."""

import dataclasses
import itertools

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data.label_grid import fit_labels, with_stated_spacing
from cmrjax.data.nifti import read_nifti

SHAPE = (7, 6, 5)
ZOOMS = (1.3, 1.4, 9.0)


def _oblique():
    """An affine as of a short axis: turned about all axes."""
    a, b = 0.3, -0.5
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    affine = np.eye(4)
    affine[:3, :3] = turn * ZOOMS
    affine[:3, 3] = (20.0, -35.0, 80.0)
    return affine


def _read(path, values, affine):
    nib.save(nib.Nifti1Image(values, affine), path)
    return read_nifti(path)


@pytest.fixture
def pair(tmp_path):
    """An image and its labels on one grid; every voxel has its own value."""
    values = np.arange(np.prod(SHAPE) * 2, dtype=np.int16).reshape(*SHAPE, 2)
    image = _read(tmp_path / "image.nii", values, _oblique())
    return image, _read(tmp_path / "labels.nii", values, _oblique())


def _stored(tmp_path, pair, orientation):
    """The same labels along other axes, written by nibabel with a true affine."""
    source = nib.Nifti1Image.load(pair[1].path)
    nib.save(source.as_reoriented(orientation), tmp_path / "other.nii")
    return read_nifti(tmp_path / "other.nii")


def test_labels_on_the_image_grid_stay_as_they_are(pair):
    image, labels = pair
    assert fit_labels(image, labels) == (labels, [])


ORIENTATIONS = [
    list(zip(order, signs, strict=True))
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
][1:]


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_labels_along_other_axes_are_turned_onto_the_image(tmp_path, pair, orientation):
    image, labels = pair
    other = _stored(tmp_path, pair, orientation)
    assert not np.array_equal(other.frames, labels.frames)
    turned, (line,) = fit_labels(image, other)
    np.testing.assert_array_equal(turned.frames, labels.frames)
    np.testing.assert_array_equal(turned.affine, image.affine)
    np.testing.assert_allclose(turned.spacing, image.spacing, atol=1e-5)
    assert line.startswith(f"{tmp_path / 'other.nii'}: its axes point to ")
    assert "turned onto the image's grid" in line


def test_rounding_is_no_difference_and_part_of_a_voxel_is_a_notice(tmp_path, pair):
    image, labels = pair
    affine = labels.affine.copy()
    affine[:3] += 1e-3
    near = dataclasses.replace(labels, affine=affine)
    assert fit_labels(image, near) == (near, [])
    affine = labels.affine.copy()
    affine[:3, 3] += 0.5 * affine[:3, 0]
    half = dataclasses.replace(labels, affine=affine)
    kept, (line,) = fit_labels(image, half)
    assert kept is half
    assert "its affine is not the image's; voxels are paired by index" in line


def test_labels_of_the_next_slice_are_refused_whatever_float32_makes_of_them(pair):
    image, labels = pair
    for origin in np.random.default_rng(0).uniform(-200, 200, (50, 3)):
        affines = [_oblique().astype(np.float32) for _ in range(2)]
        affines[0][:3, 3] = origin
        affines[1][:3, 3] = origin + _oblique()[:3, 2]
        files = [
            dataclasses.replace(f, affine=a.astype(np.float64))
            for f, a in zip(pair, affines, strict=True)
        ]
        with pytest.raises(ValueError, match="its grid lies 0 x 0 x 1 voxels beside"):
            fit_labels(*files)
    assert fit_labels(image, labels) == (labels, [])


@pytest.mark.parametrize("change", ["rotation", "spacing"])
def test_grids_that_meet_in_the_middle_alone_are_refused(pair, change):
    """By less than the tolerances of angle and voxel size, on a grid of many pixels."""
    wide = [
        dataclasses.replace(f, frames=np.zeros((1, 5, 256, 256), np.int16))
        for f in pair
    ]
    affine, centre = wide[1].affine.copy(), np.array([127.5, 127.5, 2.0])
    middle = affine[:3, :3] @ centre + affine[:3, 3]
    if change == "rotation":
        c, s = np.cos(np.radians(1.9)), np.sin(np.radians(1.9))
        affine[:3, :3] = [[c, -s, 0], [s, c, 0], [0, 0, 1]] @ affine[:3, :3]
    else:
        affine[:3, :2] *= 1.019
    affine[:3, 3] = middle - affine[:3, :3] @ centre
    wrong = dataclasses.replace(wide[1], affine=affine)
    with pytest.raises(ValueError, match=r"its grid lies .* voxels beside"):
        fit_labels(wide[0], wrong)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5], ids=str)
@pytest.mark.parametrize("spacing", [(8.0, 1.5, 1.25), (None, 1.5, 1.25)], ids=str)
def test_a_stated_spacing_is_that_of_the_image_axes(
    tmp_path, pair, orientation, spacing
):
    image, labels = pair
    other = _stored(tmp_path, pair, orientation)
    stated = with_stated_spacing(image, spacing)
    turned, _ = fit_labels(stated, with_stated_spacing(other, spacing, image=image))
    np.testing.assert_array_equal(turned.frames, labels.frames)
    assert stated.spacing == (spacing[0] or ZOOMS[2], 1.5, 1.25)
    np.testing.assert_allclose(turned.spacing, stated.spacing, rtol=1e-6)


def _changed(change):
    affine = _oblique()
    if change == "spacing":
        affine[:3, 0] *= 1.5
    elif change == "direction":
        angle = np.radians(8)
        c, s = np.cos(angle), np.sin(angle)
        affine[:3, :3] = [[c, -s, 0], [s, c, 0], [0, 0, 1]] @ affine[:3, :3]
    elif change == "flip without its origin":
        affine[:3, 0] *= -1
    else:
        affine[:3, 3] += 3 * affine[:3, 1]
    return affine


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("spacing", "its voxels are 1.95 x 1.4 x 9 mm, those of the image image.nii"),
        ("direction", "are turned by 8 degrees from those of the image image.nii (R"),
        ("flip without its origin", "its grid lies -6 x 0 x 0 voxels beside that of"),
        ("shift", "its grid lies 0 x 3 x 0 voxels beside that of the image image.nii"),
    ],
)
def test_headers_that_contradict_are_refused(pair, change, text):
    image, labels = pair
    wrong = dataclasses.replace(labels, affine=_changed(change))
    with pytest.raises(ValueError, match="by index, give the file the im") as caught:
        fit_labels(image, wrong)
    line = str(caught.value)
    assert text in line, line
    assert line.startswith(f"{labels.path}: ")
    assert "\n" not in line


@pytest.mark.parametrize("which", ["image", "labels"])
def test_headers_without_a_position_are_paired_by_index(tmp_path, pair, which):
    """As np.eye(4) writes them, and as files without sform and qform are."""
    image, labels = pair
    values = labels.frames.T
    unset = _read(tmp_path / "eye.nii", values, np.eye(4))
    codeless = nib.Nifti1Image(values, None)
    codeless.header.set_zooms((*ZOOMS, 1.0))
    nib.save(codeless, tmp_path / "codeless.nii")
    for silent in (unset, read_nifti(tmp_path / "codeless.nii")):
        assert not silent.placed
        files = (silent, labels) if which == "image" else (image, silent)
        kept, (line,) = fit_labels(*files)
        assert kept is files[1]
        assert f"(no position in the header of {silent.path.name})" in line


def test_another_shape_is_left_to_who_compares_shapes(pair):
    image, labels = pair
    cut = dataclasses.replace(labels, frames=labels.frames[:, 2:])
    assert fit_labels(image, cut)[0].frames.shape == (2, 3, 6, 7)
