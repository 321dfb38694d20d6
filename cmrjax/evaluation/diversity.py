"""How different the images are that one label map gets with different z.

A generator that ignores its z makes the same image each time: SSIM between two of them
is 1 and their standard deviation 0. SSIM between images of one label map as a measure
of (lacking) diversity: Odena et al. 2017, "Conditional image synthesis with auxiliary
classifier GANs", section 4.2 (there multi-scale, between images of one class).
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from cmrjax.metrics.image_quality import ssim

NUM_DRAWS = 4

Draw = Callable[[np.ndarray, jax.Array], Any]
"""(label_map [b, h, w], key) -> images [b, h, w, 1] in [-1, 1]."""


def measure_diversity(
    draw: Draw,
    batches: Iterable[Mapping[str, Any]],
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> dict[str, float | int]:
    """Draws each label map several times and compares the images with each other.

    Args:
      draw: the generator.
      batches: label_map [b, h, w], valid_mask bool [b, h, w, 1], and, where a batch is
        filled up, weight [b], 0 for what does not count.
      num_draws: images of each label map, at least 2.
      seed: of the draws.

    Returns:
      "ssim_between_draws": mean over label maps and pairs of draws, valid pixels;
      "std_between_draws": of a valid pixel's values over the draws (n - 1), its mean;
      "num_draws"; "num_slices".

    Raises:
      ValueError: fewer than 2 draws, or no label map.
    """
    if num_draws < 2:
        raise ValueError(f"num_draws is {num_draws}; expected at least 2 to compare")
    similarities: list[float] = []
    deviations: list[float] = []
    for number, batch in enumerate(batches):
        key = jax.random.fold_in(jax.random.key(seed), number)
        images = np.stack(
            [
                np.asarray(draw(batch["label_map"], one), np.float32)
                for one in jax.random.split(key, num_draws)
            ]
        )
        valid = np.asarray(batch["valid_mask"])
        counts = np.asarray(batch.get("weight", np.ones(len(valid)))) > 0
        pairs = [
            np.asarray(_ssim(images[i], images[j], valid))
            for i, j in itertools.combinations(range(num_draws), 2)
        ]
        spread = images.std(axis=0, ddof=1)
        area = np.maximum(valid.sum((1, 2, 3)), 1)
        similarities += np.mean(pairs, axis=0)[counts].tolist()
        deviations += ((spread * valid).sum((1, 2, 3)) / area)[counts].tolist()
    if not similarities:
        raise ValueError("no label map to draw images of")
    return {
        "ssim_between_draws": float(np.nanmean(similarities)),
        "std_between_draws": float(np.mean(deviations)),
        "num_draws": num_draws,
        "num_slices": len(similarities),
    }


_ssim = jax.jit(ssim)
