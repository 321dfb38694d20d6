"""From tissues to a magnitude image: contrast, coils, field, flow, k-space, noise."""

import numpy as np

from cmrjax.simulation.bssfp import bssfp_signal
from cmrjax.simulation.coils import array_sensitivity
from cmrjax.simulation.contrast import mean_signal, signal_table
from cmrjax.simulation.kspace import fold_over, measure
from cmrjax.simulation.off_resonance import PROTON_MHZ_PER_TESLA, frequency_map
from cmrjax.simulation.scanner import AcquisitionParameters
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.signal_variation import blood_flow, tissue_texture
from cmrjax.simulation.tissues import TISSUE_IDS


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
    signal *= gain * np.float32(parameters.blood_level / _blood_signal(parameters))
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


def _blood_signal(parameters: AcquisitionParameters) -> float:
    """Return the signal of LV blood on resonance."""
    signal = bssfp_signal(
        *parameters.tissue_values[TISSUE_IDS["lv_blood"]],
        repetition_time=parameters.repetition_time,
        echo_time=parameters.repetition_time / 2,
        flip_angle=parameters.flip_angle,
    )
    return float(signal)


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
