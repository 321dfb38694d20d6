"""Named styles of scanners: how each draws its settings.

The letters are those of the M&Ms vendors (Campello et al., IEEE Trans Med Imaging
40:3543, 2021). A and B are calibrated on training images of centres 1 and 2 and the
development subjects of centre 3 and made wider; C and D were not looked at and follow
what is common: C with strong filters and a lifted background, D with 3 T and hard
shading. ``wide`` draws everything independently and over the widest range.
"""

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class VendorStyle:
    """Distributions of one style; a pair is the range of a uniform draw.

    Attributes:
        name: Name of the style.
        share: Share of the subjects when no style is asked for.
        high_field: Probability of 3 T instead of 1.5 T.
        flip_angle: Degrees.
        repetition_time: TR, ms.
        blood_level: Intensity of blood, stored units; drawn on a logarithmic scale.
        snr: Blood over noise at the heart; logarithmic.
        channels: Channels combined as root of squares (lowest, highest).
        resolution: Acquired resolution along the read-out, mm.
        phase_resolution: Resolution along phase encoding over that along the read-out.
        taper: Soft edge of the k-space window.
        motion: Blur by the heart's motion, mm.
        sharpening: See `kspace.Readout`.
        loop_radius: See `coils.array_sensitivity`, mm.
        uniform: See `coils.array_sensitivity`.
        corrected: Power of the sensitivity that the scanner divides out, 0 to 1.
        background_cut: What is subtracted and clipped, part of the blood's level.
        chemical_shift: Probability that fat and water are opposed (dark outlines).
    """

    name: str
    share: float
    high_field: float
    flip_angle: Range
    repetition_time: Range
    blood_level: Range
    snr: Range
    channels: tuple[int, int]
    resolution: Range
    phase_resolution: Range
    taper: Range
    motion: Range
    sharpening: Range
    loop_radius: Range
    uniform: Range
    corrected: Range
    background_cut: Range
    chemical_shift: float


STYLES: dict[str, VendorStyle] = {
    style.name: style
    for style in (
        VendorStyle(
            name="A",
            share=0.3,
            high_field=0.15,
            flip_angle=(45, 60),
            repetition_time=(2.7, 3.5),
            blood_level=(80, 480),
            snr=(11, 300),
            channels=(1, 4),
            resolution=(1.2, 1.75),
            phase_resolution=(1.0, 1.35),
            taper=(0.1, 0.6),
            motion=(0.3, 1.1),
            sharpening=(-0.8, 0.3),
            loop_radius=(22, 60),
            uniform=(0.25, 0.9),
            corrected=(0.0, 0.3),
            background_cut=(0.0, 0.0),
            chemical_shift=0.85,
        ),
        VendorStyle(
            name="B",
            share=0.3,
            high_field=0.15,
            flip_angle=(40, 60),
            repetition_time=(2.7, 3.6),
            blood_level=(80, 1900),
            snr=(30, 220),
            channels=(1, 2),
            resolution=(1.15, 1.6),
            phase_resolution=(0.95, 1.2),
            taper=(0.1, 0.6),
            motion=(0.3, 1.1),
            sharpening=(-0.8, 0.3),
            loop_radius=(40, 100),
            uniform=(0.5, 0.95),
            corrected=(0.6, 1.05),
            background_cut=(0.0, 0.025),
            chemical_shift=0.95,
        ),
        VendorStyle(
            name="C",
            share=0.1,
            high_field=0.2,
            flip_angle=(45, 60),
            repetition_time=(2.9, 3.9),
            blood_level=(300, 4000),
            snr=(20, 90),
            channels=(2, 6),
            resolution=(1.3, 2.0),
            phase_resolution=(1.0, 1.4),
            taper=(0.1, 0.7),
            motion=(0.2, 1.0),
            sharpening=(-0.7, 0.4),
            loop_radius=(30, 100),
            uniform=(0.2, 0.9),
            corrected=(0.3, 1.0),
            background_cut=(0.0, 0.02),
            chemical_shift=0.8,
        ),
        VendorStyle(
            name="D",
            share=0.1,
            high_field=0.5,
            flip_angle=(40, 60),
            repetition_time=(2.8, 3.8),
            blood_level=(200, 3000),
            snr=(15, 100),
            channels=(1, 6),
            resolution=(1.3, 2.0),
            phase_resolution=(1.0, 1.5),
            taper=(0.1, 0.7),
            motion=(0.3, 1.2),
            sharpening=(-0.8, 0.2),
            loop_radius=(30, 90),
            uniform=(0.2, 0.9),
            corrected=(0.0, 1.0),
            background_cut=(0.0, 0.03),
            chemical_shift=0.8,
        ),
        VendorStyle(
            name="wide",
            share=0.2,
            high_field=0.3,
            flip_angle=(40, 60),
            repetition_time=(2.6, 4.0),
            blood_level=(80, 4000),
            snr=(8, 300),
            channels=(1, 8),
            resolution=(1.15, 2.3),
            phase_resolution=(0.9, 1.6),
            taper=(0.0, 0.8),
            motion=(0.0, 1.4),
            sharpening=(-0.9, 0.7),
            loop_radius=(22, 120),
            uniform=(0.1, 0.95),
            corrected=(0.0, 1.1),
            background_cut=(0.0, 0.06),
            chemical_shift=0.7,
        ),
    )
}


def sample_style(
    rng: np.random.Generator, name: str | VendorStyle | None = None
) -> VendorStyle:
    """Return a style by name, or draw one.

    Args:
        rng: Source of randomness; one draw is taken whether or not a name is given.
        name: A style, the name of one of ``STYLES``, or None to draw by their shares.

    Returns:
        The style.

    Raises:
        ValueError: If there is no style of that name.
    """
    shares = np.cumsum([style.share for style in STYLES.values()])
    index = int(np.searchsorted(shares / shares[-1], rng.uniform(), side="right"))
    if name is None:
        return list(STYLES.values())[min(index, len(STYLES) - 1)]
    if isinstance(name, VendorStyle):
        return name
    check_style(name)
    return STYLES[name]


def check_style(name: str) -> None:
    """Raise ValueError if there is no style of that name."""
    if name not in STYLES:
        raise ValueError(f"no vendor style {name!r}; there are {', '.join(STYLES)}")
