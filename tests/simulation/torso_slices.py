"""Axial slices, and a torso simple enough to be computed by hand."""

from dataclasses import replace

import numpy as np

from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.torso_shape import TorsoParameters, sample_torso

SPACING = 4.0
SIZE = 120  # 480 mm, wider than any torso


def axial(
    height: float = 0.0,
    *,
    size: int = SIZE,
    spacing: float = SPACING,
    offsets: tuple[float, ...] = (0.0,),
) -> SlicePlane:
    """An axial slice at a height, mm: columns go left, rows to the back.

    Pixel ``(size // 2, size // 2)`` lies on the body's axis.
    """
    half = spacing * (size // 2)
    return SlicePlane(
        origin=np.array([-half, -half, height]),
        column_axis=np.array([1.0, 0.0, 0.0]),
        row_axis=np.array([0.0, 1.0, 0.0]),
        normal=np.array([0.0, 0.0, 1.0]),
        shape=(size, size),
        spacing=spacing,
        offsets=offsets,
    )


def straight(seed: int = 0, **changes) -> TorsoParameters:
    """A torso that is not bent, without breasts and arms, the same at any height."""
    torso = sample_torso(np.random.default_rng(seed))
    plain = {
        "wave_amplitudes": np.zeros_like(torso.wave_amplitudes),
        "breast": 0.0,
        "arm_gap": -1.0,
        "taper": 0.0,
        "slope": 0.0,
    }
    return replace(torso, **(plain | changes))
