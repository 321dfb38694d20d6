"""Signals are noted, and the handlers come back."""

import os
import signal
import threading

import pytest

from cmrjax.training.signals import SIGNALS, StopRequest


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handlers_are_restored(number):
    before = {n: signal.getsignal(n) for n in SIGNALS}
    with StopRequest() as stop:
        assert stop.received is None
        assert signal.getsignal(number) != before[number]
        os.kill(os.getpid(), number)
        assert stop.received == signal.Signals(number).name
    assert {n: signal.getsignal(n) for n in SIGNALS} == before


def test_a_second_interrupt_is_obeyed_and_the_handlers_are_restored():
    before = {n: signal.getsignal(n) for n in SIGNALS}
    stop = StopRequest()
    with stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert stop.received == "SIGINT"
    assert {n: signal.getsignal(n) for n in SIGNALS} == before


def test_a_second_termination_changes_nothing():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received in ("SIGTERM", "SIGUSR1")


def test_outside_of_the_main_thread_nothing_is_installed():
    seen = []

    def work():
        with StopRequest() as stop:
            seen.append((stop.received, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


def test_entered_again_inside_it_notes_on_until_the_outer_end():
    before = {n: signal.getsignal(n) for n in SIGNALS}
    stop = StopRequest()
    with stop:
        with stop:
            pass
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.received == "SIGUSR1"
    assert {n: signal.getsignal(n) for n in SIGNALS} == before
