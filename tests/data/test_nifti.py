"""Reading and writing NIfTI: axes, spacing, units, damaged files."""

import gzip
import os
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data import nifti
from tests.data.mnms_tree import save_nifti


def _patched(path, offset, values):
    """Overwrites header bytes of an uncompressed file."""
    content = bytearray(path.read_bytes())
    raw = np.asarray(values).tobytes()
    content[offset : offset + len(raw)] = raw
    path.write_bytes(content)
    return path


def test_axes_are_slice_row_column(tmp_path):
    values = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    path = save_nifti(tmp_path / "a.nii.gz", values, zooms=(1.1, 1.33, 9.5))
    file = nifti.read_nifti(path)
    assert file.frames.shape == (5, 4, 3, 2)
    assert file.frames[4, 3, 2, 1] == values[1, 2, 3, 4]
    assert file.spacing == (9.5, 1.33, 1.1)  # rounded from float32
    volume = nifti.read_volume(path, frame=2)
    np.testing.assert_array_equal(volume.array, values[..., 2].T)
    with pytest.raises(ValueError, match=r"has 5 time frames; say which one"):
        nifti.read_volume(path)
    with pytest.raises(ValueError, match=r"has no frame 5; it has 0 to 4"):
        nifti.read_volume(path, frame=5)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
@pytest.mark.parametrize("dtype", nifti.WRITTEN_TYPES)
def test_write_and_read_keep_values_and_affine(tmp_path, name, dtype):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (3, 4, 5)).astype(dtype)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    nifti.write_volume(tmp_path / name, array, affine)
    volume = nifti.read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    expected = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    np.testing.assert_allclose(volume.spacing, expected, atol=2e-6)
    first = (tmp_path / name).read_bytes()
    nifti.write_volume(tmp_path / name, array, affine)
    assert (tmp_path / name).read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_nifti2_scaling_and_other_units(tmp_path):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti2Image(values, np.diag([0.00133, 0.00133, 0.01, 1]))
    image.header.set_xyzt_units("meter", "sec")
    nib.save(image, tmp_path / "a.nii")
    file = nifti.read_nifti(tmp_path / "a.nii")
    assert file.spacing == (10.0, 1.33, 1.33)
    np.testing.assert_allclose(np.diag(file.affine), [1.33, 1.33, 10, 1], rtol=1e-6)

    image = nib.Nifti1Image(values, np.eye(4))
    image.header.set_slope_inter(2.0, 1.0)
    nib.save(image, tmp_path / "b.nii.gz")
    stored = nifti.read_nifti(tmp_path / "b.nii.gz").frames[0]
    reference = np.asanyarray(nib.Nifti1Image.load(tmp_path / "b.nii.gz").dataobj)
    np.testing.assert_allclose(stored, reference.T)


@pytest.mark.parametrize("value", [0.0, -1.33, np.nan, np.inf])
def test_impossible_voxel_sizes(tmp_path, value):
    path = save_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.int16))
    _patched(path, 80, np.float32(value))  # pixdim[1]
    with pytest.raises(ValueError, match=r"a\.nii: voxel size in the header is"):
        nifti.read_nifti(path)


def test_affine_that_cannot_be(tmp_path):
    path = save_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.int16))
    _patched(path, 280, np.zeros(4, np.float32))  # srow_x
    with pytest.raises(ValueError, match=r"a\.nii: affine is not invertible"):
        nifti.read_nifti(path)


def test_wrong_number_of_axes(tmp_path):
    for shape in ((4,), (2, 2, 2, 2, 2), (2, 2, 2, 2, 1, 2)):
        path = save_nifti(tmp_path / "a.nii", np.zeros(shape, np.int16))
        with pytest.raises(ValueError, match=r"has shape \(.*, expected two to four"):
            nifti.read_nifti(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_axes_of_length_1_may_follow_and_one_slice_may_have_two_axes(tmp_path, name):
    values = np.arange(24, dtype=np.int16)
    for shape in ((4, 6), (4, 3, 2), (4, 3, 1, 2), (2, 2, 3, 2, 1), (4, 6, 1, 1, 1, 1)):
        path = save_nifti(tmp_path / name, values.reshape(shape))
        frames = nifti.read_nifti(path).frames
        full = (*shape, 1, 1)[:4]
        assert frames.shape == full[::-1]
        np.testing.assert_array_equal(frames.T, values.reshape(full))


def test_a_slice_may_have_no_thickness(tmp_path):
    path = save_nifti(tmp_path / "a.nii", np.zeros((4, 6), np.int16))
    _patched(path, 88, np.float32(0))  # pixdim[3]
    assert nifti.read_nifti(path).spacing == (1.0, 1.33, 1.33)


def test_an_identity_and_a_code_that_cannot_be_tell_no_place(tmp_path):
    path = save_nifti(tmp_path / "a.nii", np.zeros((4, 6, 2), np.int16))
    assert nifti.read_nifti(path).placed
    _patched(path, 280, np.eye(4, dtype=np.float32)[:3])  # as ACDC files have it
    file = nifti.read_nifti(path)
    assert (file.spacing, file.placed, file.looks_unset) == ((10, 1.33, 1.33), 0, 0)
    _patched(path, 254, np.int16(99))  # sform_code
    assert not nifti.read_nifti(path).placed


def test_headers_tell_more_or_less(tmp_path):
    """Whether the voxel size is known, looks lost, and whether a place is told."""
    values = np.zeros((4, 6, 2), np.int16)
    millimetres = nib.Nifti1Image(values, None)
    millimetres.header.set_xyzt_units("mm")
    cases = {
        "nothing": (nib.Nifti1Image(values, None), (False, True, False)),
        "a unit": (millimetres, (True, True, False)),
        "eye": (nib.Nifti1Image(values, np.eye(4)), (True, True, False)),
        "ITK's eye": (
            nib.Nifti1Image(values, np.diag([-1.0, -1, 1, 1])),
            (True, True, False),
        ),
        "cubes somewhere": (
            nib.Nifti1Image(values, np.eye(4) + np.eye(4, k=3)),
            (True, False, True),
        ),
        "voxels": (
            nib.Nifti1Image(values, np.diag([2.0, 2, 8, 1])),
            (True, False, True),
        ),
    }
    for name, (image, expected) in cases.items():
        nib.save(image, tmp_path / "a.nii")
        file = nifti.read_nifti(tmp_path / "a.nii")
        found = (file.spacing_known, file.looks_unset, file.placed)
        assert found == expected, name


def test_damaged_files_are_one_line_that_names_the_file(tmp_path):
    good = save_nifti(tmp_path / "good.nii.gz", np.ones((9, 9, 9, 2), np.int16))
    raw = good.read_bytes()
    plain = gzip.decompress(raw)
    flipped = bytearray(raw)
    flipped[-6] ^= 0xFF  # inside the check sum
    cases = {
        "truncated.nii.gz": (raw[: len(raw) // 2], "gzip data are truncated after"),
        "checksum.nii.gz": (bytes(flipped), "gzip data are damaged"),
        "short.nii.gz": (gzip.compress(plain[:900]), "shorter than its header says"),
        "short.nii": (plain[:-1], "shorter than its header says"),
        "text.nii.gz": (b"<html>not found</html>", "gzip data are damaged"),
        "text.nii": (b"x" * 400, "not a NIfTI file"),
        "empty.nii.gz": (b"", "file is empty (0 bytes)"),
        "zip.nii.gz": (gzip.compress(b""), "not a NIfTI file (0 bytes"),
    }
    for name, (content, text) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match="^" + str(path)) as caught:
            nifti.read_nifti(path)
        assert text in str(caught.value), name
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"no\.nii: cannot be read \(No such file"):
        nifti.read_nifti(tmp_path / "no.nii")
    with pytest.raises(ValueError, match=r"a\.png: not a NIfTI name"):
        nifti.read_nifti(tmp_path / "a.png")


def test_random_damage_to_the_header_is_a_value_error(tmp_path):
    """Whatever the header says, the answer is a file or a ValueError."""
    path = save_nifti(tmp_path / "a.nii", np.ones((3, 4, 5), np.int16))
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(good)
        for place in rng.integers(4, 352, 3):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            nifti.read_nifti(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017


def test_write_refuses(tmp_path):
    array = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match=r"must end in \.nii\.gz or \.nii"):
        nifti.write_volume(tmp_path / "a.png", array, np.eye(4))
    with pytest.raises(ValueError, match=r"expected \[d, h, w\] or \[t, d, h, w\]"):
        nifti.write_volume(tmp_path / "a.nii", array[0], np.eye(4))
    with pytest.raises(ValueError, match=r"values are float16; convert them to one"):
        nifti.write_volume(tmp_path / "a.nii", array.astype("float16"), np.eye(4))


def _small() -> bytearray:
    image = nib.Nifti1Image(np.ones((8, 8, 4), np.int16), np.eye(4))
    return bytearray(image.to_bytes())


def test_gzip_in_several_members_or_padded_with_zeros_is_whole(tmp_path):
    content = bytes(_small())
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert nifti.read_nifti(path).frames.sum() == 256
    path.write_bytes(gzip.compress(content) + bytes(8))
    assert nifti.read_nifti(path).frames.sum() == 256


def test_a_file_that_unpacks_to_more_than_it_says_costs_little_memory(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(bytes(_small()) + bytes(256 << 20), 1))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"unpacks to more than .* header says"):
        nifti.read_nifti(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (40, np.array([3, 32767, 32767, 32767], "<i2"), "32767 x 32767 x 32767 voxels"),
        (108, np.array([1e30], "<f4"), r"from byte 1e\+30"),
        (108, np.array([np.nan], "<f4"), "from byte nan"),
    ],
)
def test_a_header_that_asks_for_too_much_is_refused(
    tmp_path, suffix, place, value, text
):
    content = _small()
    raw = value.tobytes()
    content[place : place + len(raw)] = raw
    path = tmp_path / f"a{suffix}"
    packed = gzip.compress(content) if suffix.endswith("gz") else bytes(content)
    path.write_bytes(packed)
    with pytest.raises(ValueError, match=text) as error:
        nifti.read_nifti(path)
    assert str(error.value).startswith(str(path))
    assert "at most 4 GiB are read" in str(error.value)


def test_a_plain_file_beyond_its_header_is_refused_before_it_is_read(tmp_path):
    path = save_nifti(tmp_path / "a.nii", np.zeros((4, 4, 2), np.int16))
    os.truncate(path, 1 << 40)  # sparse: a terabyte that no memory holds
    with pytest.raises(ValueError, match="more than its header says"):
        nifti.read_nifti(path)


def test_values_that_are_scaled_count_as_they_are_in_memory(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((2048, 2048, 200))
    header["scl_slope"], header["vox_offset"], header["magic"] = 2, 352, b"n+1"
    path = tmp_path / "a.nii"
    path.write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(ValueError, match=r"6.25 GiB in memory.* at most 4 GiB"):
        nifti.read_nifti(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(ValueError, match="it is a folder or a device"):
        nifti.read_nifti(tmp_path / "a.nii.gz")
