"""Settings of the virtual scanner, drawn for one subject in a vendor's style."""

from dataclasses import dataclass

import numpy as np

from cmrjax.simulation.kspace import Readout
from cmrjax.simulation.relaxation import at_field_strength, with_contrast_agent
from cmrjax.simulation.vendor_style import Range, VendorStyle, sample_style

# Fat's main line lies at 1.3 ppm and water at 4.7 ppm (Hamilton et al., NMR Biomed
# 24:784, 2011): fat precesses more slowly.
_FAT_SHIFT_PPM = -3.4


@dataclass(frozen=True)
class AcquisitionParameters:
    """Settings of the virtual scanner for one subject.

    Attributes:
        style: Name of the vendor-like style that the settings were drawn from.
        field_strength: Tesla.
        flip_angle: Degrees.
        repetition_time: TR, ms; the echo time is half of it.
        tissue_values: [tissues, 3] at this field: T1 ms, T2 ms, relative density.
        contrast_agent: Gadolinium in blood, mmol/l; ``tissue_values`` hold its effect.
        blood_level: Intensity of LV blood, in stored units.
        snr: LV blood's signal over the noise of one channel.
        coil_weights: Weights of the coils on front, back and left side.
        loop_radius: Radius of the coils' loops, mm.
        uniform: Part of the sensitivity that is equal everywhere, 0 to 1.
        corrected: Power of the sensitivity that is divided out again, 0 to 1.
        background_cut: What is subtracted and clipped at 0, part of ``blood_level``.
        readout: Sampling of k-space; its noise is that of ``snr``.
        shim: [6] Hz, coefficients (1, x, y, xx, xy, yy) of what the shim leaves; x and
            y run from -1 to 1 over the image.
        susceptibility: Factor on the field of air beside tissue; 1 is physical.
        fat_shift: Frequency of fat less that of water, ppm; 0 lets fat and water add.
        texture: Factor on the tissues' texture.
        inflow: Strength of bright inflow in blood.
        dephasing: Part of the signal that dark streaks take from blood.
        wrap: Part of the field of view that folds over from beyond each border along
            the axis of phase encoding.
        slice_variation: Relative standard deviation of the slices' gains, each of which
            has its own breath-hold.
    """

    style: str
    field_strength: float
    flip_angle: float
    repetition_time: float
    tissue_values: np.ndarray
    contrast_agent: float
    blood_level: float
    snr: float
    coil_weights: tuple[float, ...]
    loop_radius: float
    uniform: float
    corrected: float
    background_cut: float
    readout: Readout
    shim: np.ndarray
    susceptibility: float
    fat_shift: float
    texture: float
    inflow: float
    dephasing: float
    wrap: float
    slice_variation: float


def sample_acquisition(
    rng: np.random.Generator,
    tissue_values: np.ndarray,
    *,
    style: str | VendorStyle | None = None,
) -> AcquisitionParameters:
    """Draw the settings of a scanner.

    Args:
        rng: Source of randomness.
        tissue_values: [tissues, 3] at 1.5 T: T1 ms, T2 ms, relative density.
        style: A vendor-like style or its name; None draws one.

    Returns:
        The settings; flip angle 40 to 60 degrees and TR about 3 ms as in clinical cine.

    Raises:
        ValueError: If there is no style of that name.
    """
    drawn = sample_style(rng, style)
    field = 3.0 if rng.uniform() < drawn.high_field else 1.5
    agent = float(rng.uniform(0.2, 1.6)) if rng.uniform() < 0.25 else 0.0
    spread = np.array((12.0, 14.0, 14.0, 9.0, 9.0, 9.0)) * rng.uniform(0.3, 1.3)
    opposed = rng.uniform() < drawn.chemical_shift
    snr = _log_uniform(rng, drawn.snr)
    level = _log_uniform(rng, drawn.blood_level)
    return AcquisitionParameters(
        style=drawn.name,
        field_strength=field,
        flip_angle=_uniform(rng, drawn.flip_angle),
        repetition_time=_uniform(rng, drawn.repetition_time),
        tissue_values=with_contrast_agent(
            at_field_strength(tissue_values, field), agent
        ),
        contrast_agent=agent,
        blood_level=level,
        snr=snr,
        coil_weights=(1.0, *(float(w) for w in rng.uniform(0.2, 1.0, 2))),
        loop_radius=_uniform(rng, drawn.loop_radius),
        uniform=_uniform(rng, drawn.uniform),
        corrected=_uniform(rng, drawn.corrected),
        background_cut=_uniform(rng, drawn.background_cut),
        readout=_sample_readout(rng, drawn, noise=level / snr),
        shim=rng.normal(0, spread) * (field / 1.5),
        susceptibility=float(rng.uniform(0.3, 1.1)),
        fat_shift=_FAT_SHIFT_PPM if opposed else 0.0,
        texture=float(rng.uniform(0.6, 2.0)),
        inflow=float(rng.uniform(0.03, 0.22)),
        dephasing=float(rng.uniform(0.0, 0.9)),
        wrap=float(rng.uniform(0.02, 0.08)) if rng.uniform() < 0.04 else 0.0,
        slice_variation=float(rng.uniform(0.0, 0.1)),
    )


def _sample_readout(
    rng: np.random.Generator, style: VendorStyle, *, noise: float
) -> Readout:
    """Draw how k-space is sampled."""
    along_readout = _uniform(rng, style.resolution)
    along_phase = along_readout * _uniform(rng, style.phase_resolution)
    phase_axis = int(rng.uniform() < 0.25)
    rows, columns = (
        (along_readout, along_phase) if phase_axis else (along_phase, along_readout)
    )
    return Readout(
        resolution=(rows, columns),
        taper=_uniform(rng, style.taper),
        motion=_uniform(rng, style.motion),
        sharpening=_uniform(rng, style.sharpening),
        noise=noise,
        channels=int(rng.integers(style.channels[0], style.channels[1] + 1)),
        ghost=float(rng.exponential(0.008)),
        ghost_shift=float(rng.choice((0.5, 1 / 3, rng.uniform(0.08, 0.5)))),
        phase_axis=phase_axis,
    )


def _uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw between two limits."""
    return float(rng.uniform(*limits))


def _log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw between two limits, evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(*np.log(limits))))
