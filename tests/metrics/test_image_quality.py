"""Tests of SSIM, PSNR and NRMSE against independent NumPy derivations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cmrjax.metrics import image_quality
from cmrjax.metrics.image_quality import has_valid_window, nrmse, psnr, ssim

METRICS = [ssim, psnr, nrmse]


def make_pair(seed: int = 0, shape: tuple[int, int] = (24, 29), b: int = 3):
    rng = np.random.default_rng(seed)
    reference = ndimage.gaussian_filter(rng.normal(size=(b, *shape)), (0, 2, 2))
    reference = np.clip(reference / np.abs(reference).max(), -1, 1)
    image = np.clip(reference + 0.1 * rng.normal(size=reference.shape), -1, 1)
    return (
        image[..., None].astype(np.float32),
        reference[..., None].astype(np.float32),
        np.ones((b, *shape, 1), bool),
    )


def box_mask(b: int, shape: tuple[int, int], box: tuple[int, int, int, int]):
    mask = np.zeros((b, *shape, 1), bool)
    mask[:, box[0] : box[1], box[2] : box[3]] = True
    return mask


def ssim_by_loops(image, reference, mask, *, data_range: float = 2.0):
    """Wang et al. 2004 window by window in float64, two-dimensional weights."""
    rows, columns = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(rows**2 + columns**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    figures = []
    for r in range(image.shape[0] - 10):
        for c in range(image.shape[1] - 10):
            window = (slice(r, r + 11), slice(c, c + 11))
            if not mask[window].all():
                continue
            x, y = image[window].astype(float), reference[window].astype(float)
            mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
            var_x = (weights * (x - mean_x) ** 2).sum()
            var_y = (weights * (y - mean_y) ** 2).sum()
            covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
            luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
            structure = (2 * covariance + c2) / (var_x + var_y + c2)
            figures.append(luminance * structure)
    return float(np.mean(figures)) if figures else float("nan")


def test_ssim_agrees_with_loops_over_windows():
    image, reference, _ = make_pair()
    mask = box_mask(3, (24, 29), (2, 20, 5, 27))
    mask[1, 9, 12] = False  # a hole takes away the windows around it
    expected = [
        ssim_by_loops(*(array[i, ..., 0] for array in (image, reference, mask)))
        for i in range(3)
    ]
    result = ssim(image, reference, mask)
    assert result.shape == (3,)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_ssim_agrees_with_scipy_gaussian_filter():
    image, reference, mask = make_pair(1, (40, 33), 1)
    x, y = (array[0, ..., 0].astype(float) for array in (image, reference))

    def smooth(values):
        return ndimage.gaussian_filter(values, 1.5, radius=5)[5:-5, 5:-5]

    ux, uy = smooth(x), smooth(y)
    vx, vy, vxy = smooth(x * x) - ux**2, smooth(y * y) - uy**2, smooth(x * y) - ux * uy
    c1, c2 = 0.02**2, 0.06**2
    expected = ((2 * ux * uy + c1) * (2 * vxy + c2)) / (
        (ux**2 + uy**2 + c1) * (vx + vy + c2)
    )
    result = ssim(image, reference, mask)
    np.testing.assert_allclose(result[0], expected.mean(), atol=2e-5)


@pytest.mark.parametrize("data_range", [1.0, 2.0, 255.0])
def test_data_range_reaches_ssim_and_psnr(data_range):
    image, reference, mask = make_pair(b=1)
    one = [array[0, ..., 0] for array in (image, reference, mask)]
    expected = ssim_by_loops(*one, data_range=data_range)
    result = ssim(image, reference, mask, data_range=data_range)
    np.testing.assert_allclose(result, [expected], atol=2e-5)
    shift = psnr(image, reference, mask, data_range=data_range) - psnr(
        image, reference, mask
    )
    np.testing.assert_allclose(shift, [20 * np.log10(data_range / 2)], atol=1e-4)


def test_psnr_and_nrmse_values():
    image, reference, _ = make_pair()
    mask = np.random.default_rng(3).random(image.shape) < 0.6
    for i in range(3):
        x, y = (array[i][mask[i]].astype(float) for array in (image, reference))
        mse = ((x - y) ** 2).mean()
        one = (image[i : i + 1], reference[i : i + 1], mask[i : i + 1])
        np.testing.assert_allclose(psnr(*one), [10 * np.log10(4 / mse)], rtol=1e-5)
        expected = np.sqrt(mse) / (y.max() - y.min())
        np.testing.assert_allclose(nrmse(*one), [expected], rtol=1e-5)


def test_identity_is_perfect():
    _, reference, mask = make_pair()
    np.testing.assert_allclose(ssim(reference, reference, mask), 1.0, atol=1e-6)
    assert np.isposinf(psnr(reference, reference, mask)).all()
    assert (np.asarray(nrmse(reference, reference, mask)) == 0).all()


def test_inverted_image_has_negative_ssim():
    pattern = np.where(np.indices((20, 20)).sum(0) % 2 == 0, 0.8, -0.8)
    image = pattern[None, ..., None].astype(np.float32)
    mask = np.ones(image.shape, bool)
    result = ssim(-image, image, mask)
    assert -1 <= float(result[0]) < -0.9


def test_noise_makes_every_metric_worse():
    _, reference, mask = make_pair()
    noise = np.random.default_rng(5).normal(size=reference.shape).astype(np.float32)
    levels = [0.01, 0.03, 0.1, 0.3]
    figures = np.array(
        [
            [metric(reference + level * noise, reference, mask) for metric in METRICS]
            for level in levels
        ]
    )
    change = np.diff(figures, axis=0)
    assert (change[:, 0] < 0).all()
    assert (change[:, 1] < 0).all()
    assert (change[:, 2] > 0).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("filling", [-1.0, 1.0, 1e30, np.nan, np.inf])
def test_padding_changes_nothing(metric, filling):
    image, reference, _ = make_pair()
    mask = box_mask(3, (24, 29), (1, 22, 6, 29))
    expected = metric(image, reference, mask)
    other = metric(
        np.where(mask, image, filling).astype(np.float32),
        np.where(mask, reference, -filling).astype(np.float32),
        mask,
    )
    np.testing.assert_array_equal(other, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_padding_equals_cropping(metric):
    image, reference, mask = make_pair()
    margin = ((0, 0), (7, 3), (4, 12), (0, 0))
    padded = [np.pad(array, margin) for array in (image, reference, mask)]
    np.testing.assert_allclose(
        metric(*padded), metric(image, reference, mask), rtol=1e-5
    )


def test_ssim_is_symmetric():
    image, reference, mask = make_pair()
    np.testing.assert_allclose(
        ssim(image, reference, mask), ssim(reference, image, mask), atol=1e-6
    )


@pytest.mark.parametrize("metric", METRICS)
def test_jit_equals_eager(metric):
    image, reference, mask = make_pair()
    np.testing.assert_allclose(
        jax.jit(metric)(image, reference, mask),
        metric(image, reference, mask),
        rtol=1e-5,
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_float32(metric, dtype):
    image, reference, mask = make_pair()
    image, reference = jnp.asarray(image, dtype), jnp.asarray(reference, dtype)
    result = metric(image, reference, mask)
    assert result.dtype == jnp.float32
    expected = metric(
        image.astype(jnp.float32), reference.astype(jnp.float32), jnp.asarray(mask)
    )
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("shape", [(10, 40), (40, 10), (3, 3)])
def test_ssim_of_images_smaller_than_the_window_is_nan(shape):
    image, reference, mask = make_pair(shape=shape)
    assert np.isnan(ssim(image, reference, mask)).all()
    assert not has_valid_window(mask).any()
    assert np.isfinite(psnr(image, reference, mask)).all()


def test_only_the_image_without_a_valid_window_is_nan():
    image, reference, mask = make_pair()
    mask[1] = box_mask(1, (24, 29), (0, 24, 3, 13))[0]  # ten columns
    mask[2] = False
    np.testing.assert_array_equal(has_valid_window(mask), [True, False, False])
    figures = np.array([metric(image, reference, mask) for metric in METRICS])
    np.testing.assert_array_equal(
        np.isnan(figures),
        [[False, True, True], [False, False, True], [False, False, True]],
    )


def test_exactly_one_window():
    image, reference, _ = make_pair(b=1)
    mask = box_mask(1, (24, 29), (4, 15, 8, 19))
    one = [array[0, ..., 0] for array in (image, reference, mask)]
    result = ssim(image, reference, mask)
    np.testing.assert_allclose(result, [ssim_by_loops(*one, data_range=2)], atol=2e-5)


def test_nrmse_of_a_constant_reference_is_nan():
    image, _, mask = make_pair()
    assert np.isnan(nrmse(image, np.zeros_like(image), mask)).all()
    assert np.isnan(nrmse(np.zeros_like(image), np.zeros_like(image), mask)).all()


def test_nan_in_a_valid_pixel_shows():
    image, reference, mask = make_pair()
    image[0, 12, 12] = np.nan
    for metric in METRICS:
        result = np.asarray(metric(image, reference, mask))
        np.testing.assert_array_equal(np.isnan(result), [True, False, False])


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_arguments_are_refused(metric):
    image, reference, mask = make_pair()
    with pytest.raises(
        ValueError, match=r"one shape .*image \(3, 24, 29, 1\).*\(3, 24"
    ):
        metric(image, reference[:, :20], mask)
    with pytest.raises(ValueError, match=r"one shape .*image \(24, 29, 1\)"):
        metric(image[0], reference, mask)
    with pytest.raises(ValueError, match=r"one shape .*valid_mask \(1, 24, 29, 1\)"):
        metric(image, reference, mask[:1])
    with pytest.raises(ValueError, match=r"\[b, h, w, 1\], got \(3, 24, 29\)"):
        metric(image[..., 0], reference[..., 0], mask[..., 0])
    with pytest.raises(ValueError, match="valid_mask must be bool, got float32"):
        metric(image, reference, mask.astype(np.float32))
    with pytest.raises(
        ValueError, match=r"reference must be floating point.* got uint8"
    ):
        metric(image, reference.astype(np.uint8), mask)


def test_protocol_states_the_numbers():
    for piece in ("11 x 11", "sigma 1.5", "data range 2 ", "valid (unpadded) pixels"):
        assert piece in image_quality.PROTOCOL
