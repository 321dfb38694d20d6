"""The steady-state formula against integration of the Bloch equations."""

import numpy as np
import pytest
from scipy.linalg import expm

from cmrjax.simulation.bssfp import bssfp_signal, bssfp_steady_state

_TISSUES = {  # T1, T2 in ms at 1.5 T and 3 T
    "myocardium": (979.0, 64.0),
    "blood": (1411.0, 249.0),
    "muscle": (1412.0, 50.0),
    "fat": (350.0, 30.0),
    "liver": (812.0, 42.0),
}


def _generator(t1, t2, *, frequency, nutation, axis):
    """Matrix G of the Bloch equations d(M, 1)/dt = G (M, 1), equilibrium (0, 0, 1).

    dM/dt = M x B + relaxation, with B = (nutation cos axis, nutation sin axis,
    -frequency) in rad/ms, so that M turns by +frequency about z.
    """
    bx, by, bz = nutation * np.cos(axis), nutation * np.sin(axis), -frequency
    return np.array(
        [
            [-1 / t2, bz, -by, 0],
            [-bz, -1 / t2, bx, 0],
            [by, -bx, -1 / t1, 1 / t1],
            [0, 0, 0, 0],
        ]
    )


def _bloch_echo(t1, t2, *, tr, te, flip_angle, precession, pulse=1e-3):
    """Complex echo by integration of the Bloch equations to the steady state.

    Pulses of finite length with alternating phase (axes +x and -x) follow each other
    for ten T1; the echo is read TE after the middle of a pulse.
    """
    frequency = precession / tr
    nutation = np.deg2rad(flip_angle) / pulse
    free = _generator(t1, t2, frequency=frequency, nutation=0, axis=0)
    to_echo = expm(free * (te - pulse / 2))
    to_pulse = expm(free * (tr - te - pulse / 2))
    state = np.array([0.0, 0.0, 1.0, 1.0])
    pulses = [
        expm(pulse * _generator(t1, t2, frequency=frequency, nutation=nutation, axis=a))
        for a in (0.0, np.pi)
    ]
    echo = state
    for _ in range(int(5 * t1 / tr)):
        for rotation in pulses:
            echo = to_echo @ rotation @ state
            state = to_pulse @ echo
    # The last pulse is about -x, and on resonance the echo lies along -y: a factor of i
    # makes it real and positive.
    return complex(echo[0], echo[1]) * 1j


@pytest.mark.parametrize("tissue", _TISSUES)
@pytest.mark.parametrize(
    ("tr", "te", "flip_angle"), [(3.0, 1.5, 50.0), (3.4, 1.1, 40.0), (2.7, 1.35, 60.0)]
)
@pytest.mark.parametrize("precession", [0.0, 0.9, -2.4, np.pi, 4.2])
def test_formula_is_the_bloch_steady_state(tissue, tr, te, flip_angle, precession):
    t1, t2 = _TISSUES[tissue]
    settings = {"flip_angle": flip_angle, "precession": precession}
    expected = _bloch_echo(t1, t2, tr=tr, te=te, **settings)
    got = bssfp_steady_state(t1, t2, 1.0, repetition_time=tr, echo_time=te, **settings)
    on_resonance = bssfp_signal(
        t1, t2, 1.0, repetition_time=tr, echo_time=te, flip_angle=flip_angle
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-4 * float(on_resonance))
    signal = bssfp_signal(t1, t2, 1.0, repetition_time=tr, echo_time=te, **settings)
    np.testing.assert_allclose(signal, abs(got), rtol=1e-12)


def test_on_resonance_is_the_textbook_formula():
    e1, e2, a = np.exp(-3 / 1411), np.exp(-3 / 249), np.deg2rad(50)
    expected = 80 * np.sin(a) * (1 - e1) * np.exp(-1.5 / 249)
    expected /= 1 - (e1 - e2) * np.cos(a) - e1 * e2
    np.testing.assert_allclose(bssfp_signal(1411, 249, 80), expected, rtol=1e-12)


def test_short_tr_limit_depends_on_the_ratio_of_times():
    # TR -> 0: S = M0 sin a / (1 + cos a + (1 - cos a) T1 / T2)
    a = np.deg2rad(45)
    expected = np.sin(a) / (1 + np.cos(a) + (1 - np.cos(a)) * 1000 / 100)
    got = bssfp_signal(1000, 100, 1, repetition_time=1e-3, echo_time=0, flip_angle=45.0)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_dark_band_lies_half_a_turn_off_resonance():
    precession = np.linspace(-np.pi, np.pi, 41)
    signal = bssfp_signal(979, 64, 40, precession=precession)
    assert signal.shape == (41,)
    assert signal[0] < 0.1 * signal[20]
    np.testing.assert_allclose(signal, signal[::-1], rtol=1e-9)


def test_fat_is_opposed_to_water_at_the_middle_of_tr():
    # 3.4 ppm at 1.5 T are 217 Hz, two thirds of a turn in 3 ms; at 3 T 4/3 of a turn.
    for tesla in (1.5, 3.0):
        turn = 2 * np.pi * 3.4 * 42.577 * tesla * 3e-3
        water = complex(bssfp_steady_state(979, 64, 1.0))
        fat = complex(bssfp_steady_state(350, 60, 1.0, precession=turn))
        assert fat.real < 0 < water.real
        assert abs(fat.imag) < 0.2 * abs(fat.real)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"t1": 0.0}, "t1 must be above 0 ms, got 0.0"),
        ({"t2": np.array((50.0, -3.0))}, "t2 must be above 0 ms, got -3.0"),
        ({"t2": np.nan}, "t2 must be above 0 ms, got nan"),
        ({"echo_time": 4.0}, "echo_time between 0 and it"),
        ({"flip_angle": 180.0}, "flip_angle must be above 0 and below 180"),
    ],
)
def test_values_without_a_steady_state_are_refused(values, text):
    arguments = {"t1": 979.0, "t2": 64.0, "density": 40.0} | values
    with pytest.raises(ValueError, match=text):
        bssfp_signal(**arguments)
