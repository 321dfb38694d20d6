"""Augmentation on the device for the segmentation: geometry, then intensities.

The paper's recipe is geometry alone: random scaling, rotation, mirroring and flips
(SPEC 3). Intensity randomisation is ours: classes get new mean signals, so that the
network learns shapes and arrangements and not the contrast of one simulator (the idea
of SynthSeg, Billot et al. 2023, here with the simulated image's own texture kept).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from cmrjax.training.warp import smooth_noise, warp

_PATCHES = 3  # overlapping kinds of content that are drawn for a mixed class
PADDING = -1.0  # of a z-scored image outside of the field of view, about as dark as air


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How strongly examples are changed; all zero (or 1 to 1): not at all.

    Attributes:
      rotation: largest angle in degrees, either way.
      smallest_scale: of the anatomy's size, as a factor.
      largest_scale: of it.
      shift: largest shift along each axis, as a share of the side.
      flip: whether rows, columns, or both are mirrored, p 0.5 each.
      elastic: standard deviation of a smooth displacement, as a share of the side.
      intensity: share of the examples whose classes get new signals, 0 (the paper's
        recipe) to 1; above 0 all examples also get shading, blur, noise and a gamma,
        and are z-scored anew, each by its own pixels (its volume is not at hand), with
        a jitter that covers the difference.
      blood_ids: classes of one fluid, whose signals change mostly together.
      dark_ids: classes besides background that are dark on every scanner (lung: little
        water, fast dephasing): their signal changes little.
      mixed_ids: classes of several organs (abdomen): besides the class's own change,
        patches of it get other signals, from those of gas (as dark as the example's
        darkest pixel, not darker) to bright content.
      size: rows and columns of the result, pixels; 0: those of the examples. Larger
        examples let what is shrunk or turned stay filled.

    Raises:
      ValueError: a value out of range.
    """

    rotation: float = 180.0
    smallest_scale: float = 0.75
    largest_scale: float = 1.35
    shift: float = 0.08
    flip: bool = True
    elastic: float = 0.0
    intensity: float = 0.0
    blood_ids: tuple[int, ...] = ()
    dark_ids: tuple[int, ...] = ()
    mixed_ids: tuple[int, ...] = ()
    size: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0 < self.smallest_scale <= self.largest_scale:
            raise ValueError(
                f"scales from {self.smallest_scale} to {self.largest_scale}; expected "
                "0 < smallest_scale <= largest_scale"
            )
        if not 0 <= self.intensity <= 1:
            raise ValueError(f"intensity is {self.intensity}; expected 0 to 1")
        if min(self.rotation, self.shift, self.elastic) < 0:
            raise ValueError(
                f"rotation {self.rotation}, shift {self.shift} and elastic "
                f"{self.elastic} must not be negative"
            )


def augment_batch(
    key: jax.Array,
    batch: dict[str, jax.Array],
    settings: Augmentation,
    *,
    num_classes: int,
) -> dict[str, jax.Array]:
    """Changes each example of a batch in its own way.

    Args:
      key: PRNG key.
      batch: image [b, h, w, 1] float32 z-scores, label_map [b, h, w] uint8, valid_mask
        [b, h, w, 1] bool.
      settings: how strongly.
      num_classes: k.

    Returns:
      The same keys and dtypes, h and w as the settings say. What comes into view from
      outside is padding: image -1, background, not valid.
    """
    keys = jax.random.split(key, batch["label_map"].shape[0])

    def one(
        key: jax.Array, image: jax.Array, labels: jax.Array, valid: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        move_key, paint_key = jax.random.split(key)
        h, w = labels.shape
        points = _sample_points(move_key, (h, w), settings)
        image, labels, valid = warp(image[..., 0], labels, valid[..., 0], points)
        if settings.intensity > 0:
            image = _repaint(
                paint_key, image, labels, valid, settings, num_classes=num_classes
            )
        image = jnp.where(valid, image, PADDING)
        return image[..., None], labels, valid[..., None]

    image, label_map, valid_mask = jax.vmap(one)(
        keys, batch["image"], batch["label_map"], batch["valid_mask"]
    )
    return {"image": image, "label_map": label_map, "valid_mask": valid_mask}


def _sample_points(
    key: jax.Array, shape: tuple[int, int], settings: Augmentation
) -> jax.Array:
    """Draws where each new pixel comes from; [2, h', w'] rows and columns."""
    h, w = (settings.size, settings.size) if settings.size else shape
    keys = jax.random.split(key, 5)
    angle = _between(keys[0], -settings.rotation, settings.rotation) * jnp.pi / 180
    log_scale = _between(
        keys[1], jnp.log(settings.smallest_scale), jnp.log(settings.largest_scale)
    )
    side = jnp.array([h, w], jnp.float32)
    shift = _between(keys[2], -settings.shift, settings.shift, (2,)) * side
    signs = jnp.where(jax.random.bernoulli(keys[3], 0.5, (2,)), -1.0, 1.0)
    signs = signs if settings.flip else jnp.ones(2)
    rows = jnp.arange(h, dtype=jnp.float32) - (h - 1) / 2
    columns = jnp.arange(w, dtype=jnp.float32) - (w - 1) / 2
    y, x = jnp.meshgrid(rows * signs[0], columns * signs[1], indexing="ij")
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turned = jnp.stack([cos * y - sin * x, sin * y + cos * x]) / jnp.exp(log_scale)
    old_side = jnp.array(shape, jnp.float32)
    centre = ((old_side - 1) / 2 + shift)[:, None, None]
    points = turned + centre
    if settings.elastic > 0:
        points += settings.elastic * side.mean() * smooth_noise(keys[4], 2, (h, w), 5)
    return points


def _repaint(
    key: jax.Array,
    image: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    settings: Augmentation,
    *,
    num_classes: int,
) -> jax.Array:
    """Gives the classes new signals, then shading, blur, noise and another scale."""
    keys, (h, w) = jax.random.split(key, 8), labels.shape
    blood, dark, mixed = (
        jnp.isin(jnp.arange(num_classes), jnp.array(ids, jnp.int32))
        for ids in (settings.blood_ids, (0, *settings.dark_ids), settings.mixed_ids)
    )
    repainted = _new_signals(keys[0], image, labels, valid, blood, dark)
    if settings.mixed_ids:
        members = _average_3x3(mixed[labels].astype(jnp.float32)[..., None])[..., 0]
        patched = repainted + members * _patches(keys[7], (h, w))
        darkest = repainted.min(where=valid, initial=jnp.inf)
        # Of a slice without valid pixels the darkest is infinite.
        repainted = jnp.maximum(patched, jnp.minimum(repainted, darkest))
    chosen = jax.random.bernoulli(keys[1], settings.intensity)
    image = jnp.where(chosen, repainted, image)
    image = _blur(keys[2], image)
    shading = smooth_noise(keys[3], 1, (h, w), 3)[0] * _between(keys[4], 0, 0.35)
    low = image.min(where=valid, initial=jnp.inf)
    image = (image - low) * jnp.exp(shading)
    top = image.max(where=valid, initial=1e-3)
    image = top * (image / top).clip(1e-6, 1) ** jnp.exp(0.25 * _normal(keys[5]))
    image = _z_score(image, valid)
    amount, offset, gain, noise = jax.random.split(keys[6], 4)
    image += _between(amount, 0, 0.15) * jax.random.normal(noise, image.shape)
    return image * jnp.exp(0.15 * _normal(gain)) + 0.15 * _normal(offset)


def _new_signals(
    key: jax.Array,
    image: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    blood: jax.Array,
    dark: jax.Array,
) -> jax.Array:
    """Moves each class's mean by a random amount and stretches its texture.

    `blood` [k] bool tells the classes that are one fluid: most of their change is
    common. `dark` [k] bool tells those that stay about as dark as they are. Padding
    (`valid` False) does not count to the mean of its class.

    The amount itself is drawn, so that anything from the simulator's contrast to a
    wholly random one is seen.
    """
    (num_classes,) = blood.shape
    strength_key, mean_key, gain_key, both_key = jax.random.split(key, 4)
    members = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    counted = members * valid[..., None]
    count = jnp.maximum(counted.sum(axis=(0, 1)), 1.0)
    means = jnp.einsum("hw,hwk->k", image, counted) / count
    strength = _between(strength_key, 0.0, 1.0)
    shifts = strength * jax.random.normal(mean_key, (num_classes,))
    shared = strength * _normal(both_key)
    shifts = jnp.where(blood, 0.3 * shifts + shared, shifts)
    shifts = jnp.where(dark, 0.2 * shifts, shifts)
    gains = jnp.exp(0.5 * strength * jax.random.normal(gain_key, (num_classes,)))
    # Mixed pixels lie along borders: memberships are smoothed, or each border would
    # get an outline of the old signals.
    mixed = _average_3x3(members)
    to_mean, shift, gain = (mixed @ v for v in (means, shifts, gains))
    return to_mean + shift + gain * (image - to_mean)


def _patches(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Draws other signals for some organs of a mixed class; [h, w], mostly 0."""
    field_key, level_key, signal_key = jax.random.split(key, 3)
    fields = smooth_noise(field_key, _PATCHES, shape, 6)
    levels = _between(level_key, 0.3, 1.5, (_PATCHES, 1, 1))
    signals = jax.random.normal(signal_key, (_PATCHES, 1, 1))
    return (signals * jax.nn.sigmoid((fields - levels) / 0.06)).sum(axis=0)


def _average_3x3(x: jax.Array) -> jax.Array:
    """Averages [h, w, k] over 3 x 3 pixels with weights 1, 2, 1."""
    h, w, _ = x.shape
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:h] + 2 * padded[1 : h + 1] + padded[2:]) / 4
    return (rows[:, :w] + 2 * rows[:, 1 : w + 1] + rows[:, 2:]) / 4


def _blur(key: jax.Array, image: jax.Array) -> jax.Array:
    """Blurs by a Gaussian of up to 1.2 pixels, or sharpens."""
    width_key, sign_key = jax.random.split(key)
    sigma = _between(width_key, 0.05, 1.2)
    taps = jnp.exp(-0.5 * (jnp.arange(-2.0, 3.0) / sigma) ** 2)
    taps /= taps.sum()
    padded = jnp.pad(image, 2, mode="edge")
    h, w = image.shape
    rows = jnp.stack([taps[i] * padded[i : i + h] for i in range(5)]).sum(0)
    blurred = jnp.stack([taps[i] * rows[:, i : i + w] for i in range(5)]).sum(0)
    amount = _between(sign_key, -0.6, 1.0)
    return image + amount * (blurred - image)


def _z_score(image: jax.Array, valid: jax.Array) -> jax.Array:
    """Shifts and scales the valid pixels to mean 0 and standard deviation 1."""
    count = jnp.maximum(valid.sum(), 1)
    mean = image.sum(where=valid) / count
    variance = ((image - mean) ** 2).sum(where=valid) / count
    return (image - mean) * jax.lax.rsqrt(variance + 1e-4)


def _between(
    key: jax.Array, low: ArrayLike, high: ArrayLike, shape: tuple[int, ...] = ()
) -> jax.Array:
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _normal(key: jax.Array) -> jax.Array:
    return jax.random.normal(key)
