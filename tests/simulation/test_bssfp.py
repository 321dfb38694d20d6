"""The steady-state formula against a simulation of the Bloch equations."""

import numpy as np
import pytest

from cmrjax.simulation.bssfp import bssfp_signal


def _bloch_signal(t1, t2, *, tr, te, flip_angle, precession):
    """Steady state by brute force: pulses of alternating phase, step after step.

    Free precession and relaxation are applied over TE and TR - TE, and the echo's
    magnitude is read after several T1.
    """
    angle = np.deg2rad(flip_angle)
    rotation = np.array(
        [
            [1, 0, 0],
            [0, np.cos(angle), np.sin(angle)],
            [0, -np.sin(angle), np.cos(angle)],
        ]
    )

    def free(magnetisation, time):
        turn = precession * time / tr
        x, y, z = magnetisation
        decay, recovery = np.exp(-time / t2), np.exp(-time / t1)
        return np.array(
            [
                decay * (x * np.cos(turn) - y * np.sin(turn)),
                decay * (x * np.sin(turn) + y * np.cos(turn)),
                1 - recovery + z * recovery,
            ]
        )

    magnetisation, echo = np.array([0.0, 0.0, 1.0]), np.zeros(3)
    for pulse in range(int(12 * t1 / tr)):
        sign = np.diag([1.0, 1.0, 1.0]) if pulse % 2 else np.diag([-1.0, -1.0, 1.0])
        echo = free(sign @ rotation @ sign @ magnetisation, te)
        magnetisation = free(echo, tr - te)
    return np.hypot(echo[0], echo[1])


@pytest.mark.parametrize(
    ("t1", "t2"), [(979.0, 64.0), (1411.0, 249.0), (350.0, 30.0), (548.0, 84.0)]
)
@pytest.mark.parametrize(
    ("tr", "te", "flip_angle"), [(3.0, 1.5, 50.0), (3.4, 1.1, 40.0)]
)
@pytest.mark.parametrize("precession", [0.0, 0.9, -2.4])
def test_formula_is_the_bloch_steady_state(t1, t2, tr, te, flip_angle, precession):
    expected = _bloch_signal(
        t1, t2, tr=tr, te=te, flip_angle=flip_angle, precession=precession
    )
    got = bssfp_signal(
        t1,
        t2,
        1.0,
        repetition_time=tr,
        echo_time=te,
        flip_angle=flip_angle,
        precession=precession,
    )
    np.testing.assert_allclose(got, expected, rtol=2e-4)


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


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"t1": 0.0}, "t1 and t2 must be above 0"),
        ({"echo_time": 4.0}, "echo_time between 0 and it"),
        ({"flip_angle": 180.0}, "flip_angle must be above 0 and below 180"),
    ],
)
def test_values_without_a_steady_state_are_refused(values, text):
    arguments = {"t1": 979.0, "t2": 64.0, "density": 40.0} | values
    with pytest.raises(ValueError, match=text):
        bssfp_signal(**arguments)
