"""How large the tables of `cmrjax.models.neighbourhood_table` should be."""

from cmrjax.models.neighbourhood_table import TableModulation
from cmrjax.models.spade import HIDDEN_FEATURES
from cmrjax.models.spade_generator import GeneratorArchitecture

# A row of a table against a pixel of a convolution: the gather and the sort cost, too
# (docs/performance.md).
_EFFICIENCY = 0.8
_SMALLEST_SIDE = 64


def worthwhile_share(architecture: GeneratorArchitecture, stride: int) -> float:
    """Rows over pixels, above which a table saves no time.

    A row has nine windows of the first convolution where a pixel has one, so that a
    table pays less for narrow layers.

    Args:
      architecture: of the generator.
      stride: side of the image over side of the layer.

    Returns:
      A share between 0 and 1, of the narrowest layer of this resolution.
    """
    features = architecture.last_features * stride
    window = 9 * architecture.num_classes * HIDDEN_FEATURES
    second = 9 * HIDDEN_FEATURES * 2 * features
    return _EFFICIENCY * (window + second) / (9 * window + second)


def table_for_unseen_maps(
    architecture: GeneratorArchitecture, shape: tuple[int, int, int]
) -> TableModulation:
    """Chooses table sizes without a look at the maps, for synthesis.

    Outlines grow with the side of an image, not with its area. XCAT's torso of nine
    classes, rougher than any other map that was counted, has up to 22 distinct
    neighbourhoods for each column at 256 pixels of 1.33 mm, 34 at half and 35 at a
    quarter of the resolution; maps of one batch have more than half in common.

    Args:
      architecture: of the generator.
      shape: of the label maps, (b, h, w), at the resolution of the image.

    Returns:
      Tables for the resolutions at which they are worth it. Rougher maps take the dense
      path: slower, the same values.
    """
    b, h, w = shape
    rows = []
    for stride in (1, 2, 4, 8):
        height, width = h // stride, w // stride
        count = (28 if width > 160 else 40) * width * (b + 1) // 2
        share = count / max(b * height * width, 1)
        if min(height, width) >= _SMALLEST_SIDE and share <= worthwhile_share(
            architecture, stride
        ):
            rows.append((height, count))
    return TableModulation(tuple(rows))
