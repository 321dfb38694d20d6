"""From tissues to a magnitude image: contrast, coils, field, flow, k-space, noise."""

from dataclasses import dataclass

import numpy as np

from cmrjax.simulation.coils import array_sensitivity
from cmrjax.simulation.contrast import mean_signal, signal_table
from cmrjax.simulation.kspace import Readout, fold_over, measure
from cmrjax.simulation.off_resonance import PROTON_MHZ_PER_TESLA, frequency_map
from cmrjax.simulation.relaxation import at_field_strength, with_contrast_agent
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.signal_variation import blood_flow, tissue_texture
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.vendor_style import Range, VendorStyle, sample_style

_FAT_SHIFT_PPM = 3.4


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
    columns = _uniform(rng, style.resolution)
    rows = columns * _uniform(rng, style.phase_resolution)
    phase_axis = int(rng.uniform() < 0.25)
    return Readout(
        resolution=(columns, rows) if phase_axis else (rows, columns),
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


def acquire(
    tissue: np.ndarray,
    planes: list[SlicePlane],
    parameters: AcquisitionParameters,
    rng: np.random.Generator,
    *,
    body: tuple[float, float] = (160.0, 105.0),
    oversampling: int = 1,
) -> np.ndarray:
    """Simulate the magnitude images of one phase.

    Args:
        tissue: [d, s, h, w] uint8 tissue ids; s sub-slices share a slice (partial
            volume).
        planes: The d slices that ``tissue`` was painted on.
        parameters: Settings of the scanner.
        rng: Source of texture and noise.
        body: Half width and half depth of the body, mm: where the coils lie.
        oversampling: Samples of ``tissue`` per image pixel and axis.

    Returns:
        [d, h / oversampling, w / oversampling] int16, in stored units.
    """
    hertz_per_ppm = PROTON_MHZ_PER_TESLA * parameters.field_strength
    table = signal_table(
        parameters.tissue_values,
        repetition_time=parameters.repetition_time,
        flip_angle=parameters.flip_angle,
        fat_hertz=parameters.fat_shift * hertz_per_ppm,
    )
    frequency = frequency_map(
        tissue,
        planes,
        field_strength=parameters.field_strength,
        shim=parameters.shim,
        susceptibility=parameters.susceptibility,
    )
    signal = mean_signal(
        tissue, table, frequency, repetition_time=parameters.repetition_time
    )
    middle = tissue[:, tissue.shape[1] // 2]
    sensitivity = _sensitivity(middle, planes, parameters, body)
    gain = sensitivity * _variation(middle, parameters, rng, planes[0].spacing)
    blood = np.abs(table[TISSUE_IDS["lv_blood"], 0])
    signal *= gain * np.float32(parameters.blood_level / blood)
    image = measure(
        fold_over(signal, parameters.wrap, parameters.readout.phase_axis),
        parameters.readout,
        rng,
        spacing=planes[0].spacing * oversampling,
        oversampling=oversampling,
    )
    if parameters.corrected > 0:
        seen = sensitivity[:, ::oversampling, ::oversampling]
        image /= seen ** np.float32(parameters.corrected)
    image -= np.float32(parameters.background_cut * parameters.blood_level)
    return np.clip(np.rint(image), 0, np.iinfo(np.int16).max).astype(np.int16)


def _variation(
    middle: np.ndarray,
    parameters: AcquisitionParameters,
    rng: np.random.Generator,
    spacing: float,
) -> np.ndarray:
    """Return relative signal changes by texture, flow and slice; [d, h, w] float32."""
    gain = tissue_texture(middle, rng, spacing, strength=parameters.texture)
    gain *= blood_flow(
        middle,
        rng,
        spacing,
        inflow=parameters.inflow,
        dephasing=parameters.dephasing,
    )
    slices = rng.standard_normal((len(middle), 1, 1), dtype=np.float32)
    return gain * (1.0 + parameters.slice_variation * slices).clip(0.5, 1.5)


def _sensitivity(
    middle: np.ndarray,
    planes: list[SlicePlane],
    parameters: AcquisitionParameters,
    body: tuple[float, float],
) -> np.ndarray:
    """Return the coils' sensitivity, 1 on average over LV blood; [d, h, w] float32."""
    sensitivity = array_sensitivity(
        planes,
        body=body,
        weights=parameters.coil_weights,
        loop_radius=parameters.loop_radius,
        uniform=parameters.uniform,
    )
    blood = middle == TISSUE_IDS["lv_blood"]
    return sensitivity / sensitivity[blood].mean() if blood.any() else sensitivity
