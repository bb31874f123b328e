"""Which errors are waited out, how often and how long."""

import threading

import pytest

from ragdist.storage import retry
from ragdist.tools.errors import Unreachable, UserError


class Failing:
    """A request that fails so many times before it succeeds."""

    def __init__(self, error: BaseException, times: int = 1000):
        self.error, self.times, self.made = error, times, 0

    def __call__(self) -> str:
        self.made += 1
        if self.made <= self.times:
            raise self.error
        return "done"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.016)


@pytest.mark.parametrize(
    ("error", "made", "says"),
    [
        (ConnectionResetError("gone"), 8, r"cannot be read \(ConnectionResetError: gone, 8 times\)"),
        (retry.Broken("503"), 8, r"cannot be read \(503, 8 times\)"),
        (TimeoutError(), 8, r"cannot be read \(TimeoutError, 8 times\)"),
        (EOFError("it ends"), retry.FEW, r"was cut off or changed since it was indexed \(it ends\)"),
        (retry.Refused("403"), 1, "403: check the address and this machine's credentials"),
        (PermissionError("no"), 1, "PermissionError: no: check the address"),
        (UserError("said already"), 1, "^said already$"),
    ],
)
def test_an_error_that_stays_is_one_line(error, made, says):
    work = Failing(error)
    with pytest.raises(UserError, match=says) as caught:
        retry.retried("s3://a/b", work)
    assert work.made == made
    assert isinstance(caught.value, Unreachable) == (made == 8)


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), FileExistsError("x"), NotImplementedError("x"), KeyboardInterrupt()]
)
def test_what_the_caller_has_to_know_is_raised_at_once(error):
    work = Failing(error)
    with pytest.raises(type(error)):
        retry.retried("s3://a/b", work)
    assert work.made == 1


def test_a_failure_that_passes_is_told_from_the_second_on(capsys):
    assert retry.retried("s3://a/b", Failing(ConnectionResetError("gone"), 1)) == "done"
    assert capsys.readouterr().err == ""
    assert retry.retried("s3://a/b", Failing(ConnectionResetError("gone"), 3)) == "done"
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"s3://a/b: ConnectionResetError: gone; attempt {n} of 8 in 0 s" for n in (3, 4)]


def test_pauses_double_up_to_a_limit_less_up_to_half():
    pauses = []
    retry.repeat(Failing(OSError(), 7), tell=lambda error, attempt, pause: pauses.append(1000 * pause))
    for pause, whole in zip(pauses, (1, 2, 4, 8, 16, 16, 16), strict=True):
        assert whole / 2 <= pause <= whole


def test_nothing_is_tried_again_once_all_is_given_up(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE", 60)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 60)
    ending, work = threading.Event(), Failing(OSError("gone"))
    threading.Timer(0.2, ending.set).start()
    with pytest.raises(OSError, match="gone"):
        retry.repeat(work, ending=ending)
    assert work.made == 2, "the last one as the pause was cut short"
