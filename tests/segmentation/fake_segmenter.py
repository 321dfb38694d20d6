"""A network that needs no training: it sees the heart of `mnms_tree` a bit aside."""

import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.labels import MULTI_TISSUE
from tests.data.mnms_tree import make_arrays

LUNG, FAT, ABDOMEN, OTHER_BLOOD = (
    MULTI_TISSUE.id_of(name) for name in ("lung", "fat", "abdomen", "other_blood")
)


def own_labels(shape: tuple[int, int, int], *, shift: int = 1) -> np.ndarray:
    """What it sees in a volume [d, h, w]: tissues in bands, the heart shifted.

    The heart of `make_arrays` is moved by ``shift`` columns; slice 0, where the expert
    has none, shows it as well, the last slice has none.
    """
    depth, rows, columns = shape
    labels = np.zeros(shape, np.uint8)
    labels[:, :, : columns // 2] = LUNG
    labels[:, :, columns // 2 :] = FAT
    labels[:, rows // 2 :, 1::2] = ABDOMEN
    heart = make_arrays(shape=(columns, rows, depth, 1))[1][:, :, 1, 0].T
    heart = np.roll(heart, shift, axis=1)
    return np.where(
        (heart > 0) & (np.arange(depth) < depth - 1)[:, None, None], heart, labels
    )


class FakeSegmenter:
    """Likeliest is `own_labels` (0.6), next the other blood pool (0.3)."""

    schema = MULTI_TISSUE

    def __init__(self, *, shift: int = 1, fingerprint: str = "f" * 64):
        self.shift, self.fingerprint = shift, fingerprint
        self.calls = 0

    def probabilities(self, volume: np.ndarray, grid: GridMap) -> np.ndarray:
        assert volume.dtype == np.float32
        self.calls += 1
        k = self.schema.num_classes
        native = np.full((*volume.shape, k), 0.1 / (k - 2), np.float32)
        native[..., OTHER_BLOOD] = 0.3
        own = own_labels(volume.shape, shift=self.shift)  # pyright: ignore[reportArgumentType]
        np.put_along_axis(native, own[..., None], 0.6, -1)
        classes = [
            grid.image_to_model(native[..., c], fill=float(c == 0)) for c in range(k)
        ]
        return np.stack(classes, axis=-1)
