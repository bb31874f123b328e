"""What asks a run to stop, and what counts as asking twice."""

import signal
import time

import pytest

from ragdist.tools import stop_signal
from ragdist.tools.stop_signal import StopOnSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_asks(number):
    before = signal.signal(number, signal.default_int_handler)  # it may be ignored, as nohup has it
    try:
        with StopOnSignal() as stop:
            assert not stop()
            signal.raise_signal(number)
            assert stop()
        assert signal.getsignal(number) == signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_a_later_one_ends_at_once_but_not_its_echo(monkeypatch):
    """`timeout` sends SIGTERM to the command, and at once to its group; a terminal that closes adds SIGHUP."""
    monkeypatch.setattr(stop_signal, "_ECHO", 0.2)
    with StopOnSignal():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.25)
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_nohup_is_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignal() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)
