"""Flips."""

import numpy as np

from cmrjax.data import augment


def _example():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    return {
        "label_map": labels,
        "image": labels[..., None].astype(np.float32),
        "valid_mask": labels[..., None] > 3,
        "index": np.asarray(5, np.int32),
    }


def test_flip_moves_everything_together():
    example = _example()
    out = augment.flip(example, rows=True, columns=False)
    np.testing.assert_array_equal(out["label_map"], np.flipud(example["label_map"]))
    out = augment.flip(example, rows=True, columns=True)
    np.testing.assert_array_equal(out["label_map"], np.rot90(example["label_map"], 2))
    np.testing.assert_array_equal(out["image"][..., 0], out["label_map"])
    np.testing.assert_array_equal(out["valid_mask"][..., 0], out["label_map"] > 3)
    assert out["index"] == 5
    for key, value in example.items():
        assert out[key].dtype == value.dtype
        assert out[key].flags.c_contiguous


def test_random_flips_are_four_and_equally_likely():
    rng = np.random.default_rng(0)
    corner = [
        int(augment.random_flips(_example(), rng)["label_map"][0, 0])
        for _ in range(2000)
    ]
    values, counts = np.unique(corner, return_counts=True)
    np.testing.assert_array_equal(values, [0, 3, 8, 11])
    assert (abs(counts - 500) < 80).all()
