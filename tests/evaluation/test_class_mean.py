"""Tests of the class-mean image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.evaluation.class_mean import class_mean_image, compute_class_means


def make_source(seed: int = 0, slices: int = 4, h: int = 9, w: int = 7):
    rng = np.random.default_rng(seed)
    return [
        {
            "label_map": rng.integers(0, 3, (h, w)).astype(np.uint8),
            "image": rng.uniform(-1, 1, (h, w, 1)).astype(np.float32),
            "valid_mask": rng.random((h, w, 1)) < 0.7,
        }
        for _ in range(slices)
    ]


def stacked(source, key):
    return np.stack([example[key] for example in source])


def test_means_are_those_of_valid_pixels():
    source = make_source()
    labels, images, masks = (
        stacked(source, key) for key in ("label_map", "image", "valid_mask")
    )
    expected = [
        images[..., 0][(labels == k) & masks[..., 0]].astype(float).mean()
        for k in range(3)
    ]
    result = compute_class_means(source, 3)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_padding_changes_nothing():
    source = make_source()
    expected = compute_class_means(source, 3)
    for example in source:
        padded = ~example["valid_mask"]
        example["image"][padded] = np.nan
        example["label_map"][padded[..., 0]] = 200
    np.testing.assert_array_equal(compute_class_means(source, 3), expected)


def test_a_class_that_never_occurs_takes_the_overall_mean():
    source = make_source()
    images, masks = stacked(source, "image"), stacked(source, "valid_mask")
    result = compute_class_means(source, 5)
    np.testing.assert_allclose(result[3:], images[masks].mean(dtype=float), rtol=1e-6)
    np.testing.assert_array_equal(result[:3], compute_class_means(source, 3))


def test_order_of_slices_does_not_matter():
    source = make_source(slices=6)
    np.testing.assert_allclose(
        compute_class_means(source[::-1], 3), compute_class_means(source, 3), rtol=1e-6
    )


def test_the_class_mean_image_has_the_least_squared_error():
    source = make_source()
    means = compute_class_means(source, 3)
    labels, images, masks = (
        stacked(source, key) for key in ("label_map", "image", "valid_mask")
    )

    def error(candidate):
        return ((class_mean_image(labels, candidate) - images)[masks] ** 2).mean()

    for k in range(3):
        for step in (-0.05, 0.05):
            other = means.copy()
            other[k] += step
            assert error(means) < error(other)


def test_refused_sources():
    source = make_source()
    with pytest.raises(ValueError, match=r"slice 0 .* id 2, but num_classes is 2"):
        compute_class_means(source, 2)
    source[2]["image"][source[2]["valid_mask"]] = np.nan
    with pytest.raises(ValueError, match=r"slice 2 .*not finite"):
        compute_class_means(source, 3)
    for example in source:
        example["valid_mask"][:] = False
    with pytest.raises(ValueError, match=r"no valid pixel in the source \(4 slices\)"):
        compute_class_means(source, 3)
    with pytest.raises(ValueError, match=r"no valid pixel in the source \(0 slices\)"):
        compute_class_means([], 3)


def test_image_is_painted_with_the_means():
    labels = np.array([[[0, 1], [2, 1]]], np.uint8)
    means = np.array([-0.5, 0.25, 1.0], np.float32)
    image = class_mean_image(labels, means)
    assert isinstance(image, np.ndarray)
    assert image.shape == (1, 2, 2, 1)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0, ..., 0], [[-0.5, 0.25], [1.0, 0.25]])


def test_numpy_and_jax_agree():
    labels = make_source()[0]["label_map"][None]
    means = np.array([-0.5, 0.25, 1.0], np.float32)
    result = jax.jit(class_mean_image)(jnp.asarray(labels), means)
    assert isinstance(result, jax.Array)
    np.testing.assert_array_equal(result, class_mean_image(labels, means))


def test_ids_out_of_range():
    means = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"ids 0 to 3, .* 3 class means: .* 0 to 2"):
        class_mean_image(np.array([[0, 3]], np.uint8), means)
    result = class_mean_image(jnp.array([[0, 3, -1]]), means)
    np.testing.assert_array_equal(np.isnan(result)[0, :, 0], [False, True, True])


def test_refused_arguments():
    with pytest.raises(ValueError, match="label_map must be integer, got float32"):
        class_mean_image(np.zeros((1, 2, 2), np.float32), np.zeros(3))
    with pytest.raises(ValueError, match=r"class_means must be \[k\], got \(3, 1\)"):
        class_mean_image(np.zeros((1, 2, 2), np.uint8), np.zeros((3, 1)))
