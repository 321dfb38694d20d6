"""GrowingArray writes what np.load reads."""

import numpy as np
import pytest

from cmrjax.data.growing_array import GrowingArray


@pytest.mark.parametrize("counts", [(), (1,), (7, 300, 12000)])
def test_grows_and_is_read_by_numpy(tmp_path, counts):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 2, 3)) for n in counts]
    with GrowingArray(tmp_path / "a.npy", "float16", (2, 3)) as writer:
        for part in parts:
            writer.append(part)
    out = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert out.dtype == np.float16
    expected = np.concatenate([np.zeros((0, 2, 3)), *parts]).astype(np.float16)
    np.testing.assert_array_equal(out, expected)


def test_refuses_another_shape(tmp_path):
    with (
        GrowingArray(tmp_path / "a.npy", "uint8", (2, 3)) as writer,
        pytest.raises(ValueError, match=r"expected \[n, 2, 3\], got \[1, 3, 2\]"),
    ):
        writer.append(np.zeros((1, 3, 2)))
