"""Requests to a storage service, tried again with growing pauses while their errors may pass."""

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random_exponential
from tenacity.nap import sleep, sleep_using_event

from ragdist.tools.errors import Unreachable, UserError

ATTEMPTS = 8
FEW = 3  # attempts at a file that ends too early
FIRST_PAUSE, LONGEST_PAUSE = (
    0.5,
    30.0,
)  # seconds; doubled from one attempt to the next, and up to half of each is left out

T = TypeVar("T")


class Refused(PermissionError):
    """A refusal for good, such as 403: no access, or a malformed request."""


class Broken(ConnectionError):
    """A request without a usable answer, for a reason that may pass: no connection, a time limit, 429, 5xx."""


_FINAL = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
_FINAL += (NotImplementedError, UserError)


def repeat(
    work: Callable[[], T],
    attempts: int | None = None,
    *,
    ending: threading.Event | None = None,
    tell: Callable[[Exception, int, float], None] | None = None,
) -> T:
    """The result of ``work``; its last error is raised where an attempt more is of no use.

    Args:
        work: a request that may be made twice.
        attempts: how many at most; None: `ATTEMPTS`.
        ending: no further attempt is made once it is set.
        tell: is given an error, the number of the next attempt and the seconds until then.
    """

    def enough(state: RetryCallState) -> bool:
        most = min(attempts or ATTEMPTS, FEW) if isinstance(_error(state), EOFError) else attempts or ATTEMPTS
        return state.attempt_number >= most or (ending is not None and ending.is_set())

    def say(state: RetryCallState) -> None:
        if tell:
            tell(_error(state), state.attempt_number + 1, state.next_action.sleep)

    half = {"multiplier": FIRST_PAUSE / 2, "max": LONGEST_PAUSE / 2}
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, Exception) and not isinstance(error, _FINAL)),
        stop=enough,
        wait=wait_exponential(**half) + wait_random_exponential(**half),
        before_sleep=say,
        sleep=sleep_using_event(ending) if ending else sleep,
        reraise=True,
    )(work)


def _error(state: RetryCallState) -> Exception:
    return state.outcome.exception()


def retried(place: str, work: Callable[[], T], attempts: int | None = None, *, writing: bool = False) -> T:
    """The result of a request about the file at ``place``, tried again while its errors may pass.

    ``writing`` is for messages.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError, NotImplementedError: the condition of a write is not met, or not understood.
        UserError: access is denied, or the attempts are used up.
    """
    most = attempts or ATTEMPTS

    def tell(error: Exception, attempt: int, pause: float) -> None:
        if attempt > 2:  # a single failure is no news
            print(f"{place}: {short(error)}; attempt {attempt} of {most} in {pause:.0f} s", file=sys.stderr)

    try:
        return repeat(work, most, tell=tell)
    except (FileNotFoundError, FileExistsError, NotImplementedError, UserError):
        raise
    except PermissionError as error:
        raise UserError(f"{place}: {short(error)}: check the address and this machine's credentials") from error
    except EOFError as error:
        raise UserError(f"{place} was cut off or changed since it was indexed ({short(error)})") from error
    except Exception as error:  # every service has its own kinds
        verb = "written" if writing else "read"
        raise Unreachable(
            f"{place} cannot be {verb} ({short(error)}, {most} times): run the same command again when it can"
        ) from error


def short(error: BaseException) -> str:
    """An error's cause in one line."""
    text = " ".join(str(error).split())[:200]
    if text and isinstance(error, (Refused, Broken, EOFError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
