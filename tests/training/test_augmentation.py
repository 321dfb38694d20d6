"""Augmentation: what it moves, what it leaves, and how far it goes.

Where each new pixel comes from is read off images that hold their own coordinates, so
that labels and masks can be looked up in NumPy.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.training import augmentation
from cmrjax.training.augmentation import PADDING, Augmentation, augment_batch

H, W, K = 16, 24, 9
PLAIN = Augmentation(
    rotation=0.0, smallest_scale=1.0, largest_scale=1.0, shift=0.0, flip=False
)
GEOMETRY = Augmentation(elastic=0.05, shift=0.3)
FULL = Augmentation(elastic=0.05, shift=0.3, intensity=0.5)
COUNT = 256  # examples where shares are counted


@functools.cache
def compiled(settings):
    return jax.jit(
        lambda key, batch: augment_batch(key, batch, settings, num_classes=K)
    )


def run(settings, batch, *, seed=0):
    found = compiled(settings)(jax.random.key(seed), batch)
    size = (settings.size, settings.size) if settings.size else (H, W)
    for name, old in batch.items():
        shape = (len(old), *size, *old.shape[3:])
        assert (found[name].shape, found[name].dtype) == (shape, old.dtype), name
    assert found.keys() == batch.keys()
    return {name: np.asarray(value) for name, value in found.items()}


def draw(count=6, *, seed=0, valid_columns=(2, W - 3)):
    rng = np.random.default_rng(seed)
    valid = np.zeros((count, H, W, 1), bool)
    valid[:, :, slice(*valid_columns)] = True
    labels = rng.integers(0, K, (count, H, W)).astype(np.uint8)
    image = rng.normal(size=(count, H, W, 1)).astype(np.float32)
    return {
        "label_map": np.where(valid[..., 0], labels, 0).astype(np.uint8),
        "image": np.where(valid, image, PADDING).astype(np.float32),
        "valid_mask": valid,
    }


def source_points(settings, count, *, seed=0):
    """[2, b, h, w] rows and columns that pixels came from, and which were inside."""
    everywhere = np.ones((count, H, W, 1), bool)
    grid = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
    found = []
    for axis in grid:
        image = np.broadcast_to(axis[None, ..., None], everywhere.shape)
        batch = {
            "label_map": np.ones((count, H, W), np.uint8),
            "image": image.astype(np.float32),
            "valid_mask": everywhere,
        }
        found.append(run(settings, batch, seed=seed))
    points = np.stack([f["image"][..., 0] for f in found])
    return points, found[0]["valid_mask"][..., 0]


def test_settings_that_do_nothing_give_the_input_back():
    batch = draw()
    for name, value in run(PLAIN, batch).items():
        np.testing.assert_array_equal(value, batch[name], err_msg=name)


@pytest.mark.parametrize("size", [8, 20])
def test_another_size_is_cut_or_padded_centrally(size):
    batch = draw(seed=6)
    found = run(dataclasses.replace(PLAIN, size=size), batch)
    if size < H:
        rows, columns = (slice((n - size) // 2, (n + size) // 2) for n in (H, W))
        for name, value in found.items():
            np.testing.assert_array_equal(value, batch[name][:, rows, columns])
        return
    middle = np.s_[:, 2:-2]  # 16 rows become 20, 24 columns too
    for name, value in found.items():
        np.testing.assert_array_equal(value[middle], batch[name][:, :, 2:-2])
    assert not found["valid_mask"][:, :2].any()
    assert (found["image"][:, -2:] == PADDING).all()
    assert not found["label_map"][:, :2].any()


def test_of_larger_examples_less_comes_from_outside():
    whole = source_points(Augmentation(), 64)[1]
    part = source_points(Augmentation(size=8), 64)[1]
    assert part.mean() > 0.99 > 0.9 > whole.mean()


def test_the_key_decides_and_each_example_is_changed_in_its_own_way():
    batch = {name: np.repeat(v[:1], 6, axis=0) for name, v in draw().items()}
    first, same, other = (run(FULL, batch, seed=s) for s in (3, 3, 4))
    for name, value in first.items():
        np.testing.assert_array_equal(same[name], value)
        assert not np.array_equal(other[name], value)
        assert len({example.tobytes() for example in value}) == 6


def test_flips_move_everything_together_and_are_equally_likely():
    settings = Augmentation(0.0, 1.0, 1.0, 0.0, flip=True)
    one = draw(1)
    batch = {name: np.repeat(value, COUNT, axis=0) for name, value in one.items()}
    found, counts = run(settings, batch), {}
    for i in range(COUNT):
        ways = [
            (rows, columns)
            for rows in (1, -1)
            for columns in (1, -1)
            if np.array_equal(
                found["label_map"][i], one["label_map"][0, ::rows, ::columns]
            )
        ]
        ((rows, columns),) = ways
        for name in ("image", "valid_mask"):
            expected = one[name][0, ::rows, ::columns]
            np.testing.assert_array_equal(found[name][i], expected)
        counts[rows, columns] = counts.get((rows, columns), 0) + 1
    assert len(counts) == 4
    assert all(40 < count < 90 for count in counts.values())


@pytest.mark.parametrize("angle", [90.0, 270.0])
def test_quarter_turns_move_everything_together(monkeypatch, angle):
    """The largest value of each range is drawn, so that the angle is that one."""
    monkeypatch.setattr(
        augmentation,
        "_between",
        lambda key, low, high, shape=(): jnp.broadcast_to(jnp.asarray(high), shape),
    )
    rng = np.random.default_rng(0)
    batch = {
        "label_map": rng.integers(0, K, (1, H, H)).astype(np.uint8),
        "image": rng.normal(size=(1, H, H, 1)).astype(np.float32),
        "valid_mask": np.ones((1, H, H, 1), bool),
    }
    settings = Augmentation(angle, 1.0, 1.0, 0.0, flip=False)
    found = augment_batch(jax.random.key(0), batch, settings, num_classes=K)
    turns = -round(angle / 90)
    for name, value in found.items():
        expected = np.rot90(batch[name][0], turns)
        np.testing.assert_allclose(value[0], expected, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("settings", [Augmentation(), GEOMETRY])
def test_labels_and_mask_come_from_where_the_image_comes_from(settings):
    batch = draw(seed=1)
    found = run(settings, batch, seed=5)
    points, inside = source_points(settings, 6, seed=5)
    whole = np.floor(points + 0.5)
    # A pixel that lies half way between two may go to either.
    clear = (np.abs(points + 0.5 - np.round(points + 0.5)) > 1e-3).all(axis=0)
    r, c = (whole[axis].clip(0, n - 1).astype(int) for axis, n in ((0, H), (1, W)))
    b = np.arange(6)[:, None, None]
    expected = np.where(inside, batch["label_map"][b, r, c], 0)
    np.testing.assert_array_equal(found["label_map"][clear], expected[clear])
    expected = inside & batch["valid_mask"][b, r, c, 0]
    np.testing.assert_array_equal(found["valid_mask"][..., 0][clear], expected[clear])
    assert 0.1 < (~inside).mean() < 0.7
    assert clear.mean() > 0.9


def test_what_comes_from_outside_is_padding():
    batch = draw(seed=2)
    batch["image"] = np.where(batch["valid_mask"], 5.0, 3.0).astype(np.float32)
    batch["label_map"] = np.where(batch["valid_mask"][..., 0], 7, 0).astype(np.uint8)
    for settings in (GEOMETRY, FULL):
        found = run(settings, batch)
        outside = ~found["valid_mask"]
        assert outside.any()
        assert (found["image"][outside] == PADDING).all()
        assert (found["label_map"][outside[..., 0]] == 0).all()
        assert np.isfinite(found["image"]).all()


def test_no_id_and_no_intensity_appears_that_was_not_there():
    """The plain recipe: geometry alone."""
    batch = draw(seed=3)
    batch["label_map"] = np.where(batch["label_map"] > 4, 8, 2).astype(np.uint8)
    batch["label_map"] *= batch["valid_mask"][..., 0]
    found = run(GEOMETRY, batch)
    assert set(np.unique(found["label_map"])) == {0, 2, 8}
    valid = found["image"][found["valid_mask"]]
    assert batch["image"].min() <= valid.min()
    assert valid.max() <= batch["image"].max()
    flat = {**batch, "image": np.full_like(batch["image"], 0.5)}
    found = run(GEOMETRY, flat)
    np.testing.assert_allclose(found["image"][found["valid_mask"]], 0.5, rtol=1e-5)


def affine_of(points, inside):
    """[2, 2] and [2]: source = matrix (new - centre) + shift + centre, in pixels."""
    grid = np.stack(np.meshgrid(np.arange(H), np.arange(W), indexing="ij"))
    centre = np.array([(H - 1) / 2, (W - 1) / 2])
    # Half a pixel beyond the edge still counts as inside, but is clamped.
    exact = inside & (points > 1e-3).all(0)
    exact &= (points[0] < H - 1.001) & (points[1] < W - 1.001)
    new, old = grid[:, exact].T - centre, points[:, exact].T - centre
    solved, residual, _, _ = np.linalg.lstsq(
        np.c_[new, np.ones(len(new))], old, rcond=None
    )
    assert (residual < 1e-4).all()
    return solved[:2].T, solved[2]


def test_rotation_scale_and_shift_fill_their_ranges():
    settings = Augmentation(rotation=40.0, shift=0.1)
    points, inside = source_points(settings, COUNT)
    parts = [affine_of(points[:, i], inside[i]) for i in range(COUNT)]
    matrix, shift = (np.stack(part) for part in zip(*parts, strict=True))
    scale = np.sqrt(np.abs(np.linalg.det(matrix)))
    # A rotation and flips, times one factor: no shear.
    gram = matrix.transpose(0, 2, 1) @ matrix / scale[:, None, None] ** 2
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(2), gram.shape), atol=1e-3)
    # The anatomy grows by the factor, so the sampling shrinks by it.
    factor = 1 / scale
    assert 0.75 <= factor.min() < 0.79
    assert 1.29 < factor.max() <= 1.35 + 1e-4
    assert abs(np.mean(factor > np.sqrt(0.75 * 1.35)) - 0.5) < 0.12  # even in the log
    signs = np.sign(np.diagonal(matrix, axis1=1, axis2=2))
    assert {tuple(s) for s in signs} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    turn = matrix * signs[:, None, :] * factor[:, None, None]
    angle = np.degrees(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]))
    assert -40.1 < angle.min() < -36
    assert 36 < angle.max() < 40.1
    for axis, side in ((0, H), (1, W)):
        assert 0.09 * side < np.abs(shift[:, axis]).max() < 0.1 * side + 1e-2


def test_elastic_displacements_have_about_their_size():
    settings = Augmentation(0.0, 1.0, 1.0, 0.0, flip=False, elastic=0.03)
    points, inside = source_points(settings, 64)
    grid = np.stack(np.meshgrid(np.arange(H), np.arange(W), indexing="ij"))
    middle = np.s_[:, :, 4:-4, 4:-4]
    moved = (points - grid[:, None])[middle]
    assert inside[:, 4:-4, 4:-4].mean() > 0.99
    assert 0.5 < moved.std() / (0.03 * (H + W) / 2) < 1.2
    assert np.abs(np.diff(moved, axis=3)).mean() < 0.6 * moved.std()  # smooth


# Intensities.

HALF = Augmentation(0.0, 1.0, 1.0, 0.0, flip=False, intensity=0.5)


def stripes(ids):
    """Four tissues of five columns that look alike, beside a dark background."""
    labels = np.zeros((COUNT, H, W), np.uint8)
    labels[:, :, 4:] = np.repeat(ids, (W - 4) // 4)
    image = np.where(labels > 0, 1.0, -1.0)[..., None].astype(np.float32)
    valid = np.ones((COUNT, H, W, 1), bool)
    return {"label_map": labels, "image": image, "valid_mask": valid}


def stripe_means(image):
    """[b, 4] mean of the inner columns of each stripe."""
    parts = image[:, :, 4:, 0].reshape(len(image), H, 4, -1)
    return parts[..., 1:-1].mean(axis=(1, 3))


def test_new_signals_keep_labels_mask_and_geometry():
    batch = draw(seed=4)
    plain, painted = run(GEOMETRY, batch, seed=7), run(FULL, batch, seed=7)
    for name in ("label_map", "valid_mask"):
        np.testing.assert_array_equal(painted[name], plain[name])
    for example, before in zip(painted["image"], plain["image"], strict=True):
        assert not np.allclose(example, before)


def test_half_of_the_examples_get_new_signals():
    """Classes that look alike then differ; shading, blur and noise know no classes."""
    image = run(HALF, stripes([2, 6, 2, 6]))["image"]
    # Shading is smooth: a third difference of the stripes is nearly free of it.
    contrast = np.abs(stripe_means(image) @ [1, -3, 3, -1]) / 4
    # Of all examples painted 0.40 lie below 0.3 and 0.47 above 0.5, of none of them
    # 0.96 and 0.01.
    assert 0.55 < np.mean(contrast < 0.3) < 0.82
    assert 0.12 < np.mean(contrast > 0.5) < 0.36


AIR = jnp.arange(K) == 0
BLOOD = jnp.isin(jnp.arange(K), jnp.array([1, 3]))


def test_blood_changes_together_and_other_classes_each_for_itself():
    signals = jax.jit(
        jax.vmap(lambda k, x, y, v: augmentation._new_signals(k, x, y, v, BLOOD, AIR))
    )
    batch = stripes([1, 2, 6, 3])
    image = signals(
        jax.random.split(jax.random.key(0), COUNT),
        batch["image"][..., 0],
        batch["label_map"],
        np.ones((COUNT, H, W), bool),
    )
    assert image.shape == (COUNT, H, W)
    means = stripe_means(np.asarray(image)[..., None])  # LV, MYO, fat, RV
    correlation = np.corrcoef(means.T)
    assert correlation[0, 3] > 0.8
    assert np.abs(correlation[np.ix_([0, 3], [1, 2])]).max() < 0.3
    assert abs(correlation[1, 2]) < 0.3
    # Far from a border a flat tissue stays flat: only its level is new.
    np.testing.assert_allclose(np.ptp(image[:, :, 5:8], axis=(1, 2)), 0, atol=1e-5)
    # Air stays about as dark as it is.
    assert np.asarray(image[:, :, :3]).std() < 0.3 * means[:, 1].std()


def test_dark_classes_keep_about_their_signal_and_others_do_not():
    signals = jax.jit(
        jax.vmap(
            lambda k, x, y, v: augmentation._new_signals(
                k, x, y, v, BLOOD, jnp.isin(jnp.arange(K), jnp.array([0, 4]))
            )
        )
    )
    batch = stripes([4, 2, 6, 3])
    image = signals(
        jax.random.split(jax.random.key(0), COUNT),
        batch["image"][..., 0],
        batch["label_map"],
        np.ones((COUNT, H, W), bool),
    )
    deviation = stripe_means(np.asarray(image)[..., None]).std(axis=0)
    assert 0.01 < deviation[0] < 0.3 * deviation[1:].min()


def test_a_mixed_class_gets_patches_and_no_other_class():
    batch = stripes([7, 2, 7, 3])
    plain = Augmentation(0, 1, 1, 0, False, intensity=1.0)
    mixed = dataclasses.replace(plain, mixed_ids=(7,))
    image = run(mixed, batch)["image"][..., 0]
    without = run(plain, batch)["image"][..., 0]

    def spread(images):
        """Deviation within each stripe, mean over the examples."""
        columns = np.asarray(images)[:, :, 4:].reshape(COUNT, H, 4, -1)[..., 1:-1]
        return columns.std(axis=(1, 3)).mean(axis=0)

    assert (spread(image)[[0, 2]] > 1.5 * spread(without)[[0, 2]]).all()
    np.testing.assert_allclose(spread(image)[[1, 3]], spread(without)[[1, 3]], rtol=0.5)


def test_patches_are_not_darker_than_the_darkest_pixel(monkeypatch):
    """Signals far below any are asked for; shading and the rest keep the order."""
    monkeypatch.setattr(
        augmentation, "_patches", lambda key, shape: jnp.full(shape, -50.0)
    )
    batch = stripes([7, 2, 6, 3])
    settings = Augmentation(0, 1, 1, 0, False, intensity=1.0, mixed_ids=(7,))
    keys = jax.random.split(jax.random.key(0), COUNT)
    painted = jax.vmap(
        lambda k, x, y, v: augmentation._repaint(k, x, y, v, settings, num_classes=K)
    )(keys, batch["image"][..., 0], batch["label_map"], batch["valid_mask"][..., 0])
    abdomen = np.asarray(painted)[:, :, 6:8].mean(axis=(1, 2))
    others = np.asarray(painted)[:, :, 9:].mean(axis=(1, 2))
    # Clipped, it is as dark as the air is; not clipped, it would be 50 below, and the
    # z-scored others would all lie close together.
    assert np.abs(abdomen - others).max() < 5
    assert (np.asarray(painted)[:, :, 9:].std(axis=(1, 2)) > 0.2).mean() > 0.8


def test_painted_images_stay_near_z_scores():
    batch = draw(COUNT, seed=5)
    image = run(HALF, batch)["image"][..., 2 : W - 3, 0]
    assert np.abs(image.mean(axis=(1, 2))).max() < 0.7
    deviation = image.std(axis=(1, 2))
    assert 0.5 < deviation.min()
    assert deviation.max() < 1.8
    assert deviation.std() > 0.05


def test_slices_without_content_stay_finite():
    batch = draw(COUNT)
    batch["valid_mask"][:2] = False  # no field of view at all
    batch["image"][2:4] = 0.25  # constant
    batch["label_map"][:4] = 0
    for settings in (PLAIN, HALF):
        found = run(settings, batch)
        assert np.isfinite(found["image"]).all()
        assert (found["image"][:2] == PADDING).all()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"smallest_scale": 0.0}, "scales from 0.0 to 1.35; expected 0 < smallest"),
        ({"smallest_scale": 2.0}, "scales from 2.0 to 1.35"),
        ({"intensity": 1.5}, "intensity is 1.5; expected 0 to 1"),
        ({"intensity": -0.1}, "intensity is -0.1"),
        ({"rotation": -1.0}, "rotation -1.0, shift 0.08 and elastic 0.0 must not be"),
        ({"shift": -1.0}, "shift -1.0"),
        ({"elastic": -1.0}, "elastic -1.0"),
    ],
)
def test_values_out_of_range(values, text):
    with pytest.raises(ValueError, match=text):
        Augmentation(**values)
