"""The lease on a run behind a URL: a file beside it that says who writes, renewed as a sign of life.

It is written on conditions (that there is none, that it still is the version that was seen), so of two processes that
take it at one moment the store lets one. Where a store knows no conditions it is read before it is written, and again
when whoever else began at that moment must have written, too: the last one has it.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ragdist.runs.lease import Lease
from ragdist.storage.locks import me
from ragdist.storage.store import Store
from ragdist.tools.errors import UserError

LOCK = "lock"
BEAT = 10.0  # seconds between two signs of life
SETTLING = 3.0  # seconds in which a command that found it free has written it
PATIENCE = 2.5  # beats to wait for a sign of life of another process


@contextmanager
def hold(store: Store, lease: Lease) -> Iterator[None]:
    """Hold the lease on the run at a URL until the context ends; ``lease.lost``: another process took it.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """
    holding = _Heartbeat(store, lease)
    holding.take()
    thread = threading.Thread(target=holding.keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        holding.ended.set()
        thread.join()
        holding.release()


def token_of(text: bytes | None) -> str | None:
    """The fencing token in the text of a lease."""
    lines = (text or b"").decode(errors="replace").splitlines()
    return lines[1] if len(lines) > 1 else None


class _Heartbeat:
    def __init__(self, store: Store, lease: Lease):
        self.store, self.lease = store, lease
        self.version = ""  # of the file as it was last seen; empty: there was none
        self.beat = 0
        self.conditional = True  # whether the store has conditional writes
        self.ended = threading.Event()

    def take(self) -> None:
        """Take what nobody holds, or a dead process held."""
        text = self._look()
        if text is not None:
            self._wait(text)
        if not self._write():
            raise self._in_use(self._look() or b"")
        if self.conditional and self._ignores_conditions():
            self._go_without()
        if not self.conditional:
            time.sleep(SETTLING)
            if token_of(text := self._look() or b"") != self.lease.token:
                raise self._in_use(text)

    def _wait(self, before: bytes) -> None:
        """Return when the holder gave no sign of life for a while, or released it."""
        seconds = PATIENCE * BEAT
        print(
            f"{self.store.where} is locked by {_owner(before)}: waiting {seconds:.0f} s to see whether it lives",
            flush=True,
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            now = self._look()
            if now is None:
                return
            if now != before:
                raise self._in_use(now)

    def _in_use(self, text: bytes) -> UserError:
        return UserError(f"{self.store.where} is in use by {_owner(text)}: wait for it or stop it")

    def _look(self) -> bytes | None:
        try:
            text, self.version = self.store.read_version(LOCK)
        except FileNotFoundError:
            text, self.version = None, ""
        return text

    def _text(self) -> bytes:
        self.beat += 1
        return f"{me()}\n{self.lease.token}\n{self.beat}\n".encode()

    def _write(self) -> bool:
        """Renew it if it is as it was last seen; whether it is this process's now."""
        while True:
            condition = {"if_version": self.version} if self.version else {"only_if_new": True}
            try:
                self.version = self.store.write(LOCK, self._text(), **(condition if self.conditional else {}))
                return True
            except NotImplementedError as error:
                if not self.conditional:
                    raise UserError(f"{self.store.where}: this service takes no files ({error})") from error
                self._go_without()
            except FileExistsError:
                if (text := self._look()) is not None:  # the answer to an earlier attempt may have been lost
                    return token_of(text) == self.lease.token
            except FileNotFoundError as error:
                if condition.get("only_if_new"):
                    raise UserError(
                        f"{self.store.where}: there is no such bucket or container: make it, or mend --out"
                    ) from error
                self.version = ""  # someone deleted it: whoever writes it now has it

    def _ignores_conditions(self) -> bool:
        """Whether a server takes the condition for an unknown header, as old ones do."""
        try:
            self.version = self.store.write(LOCK, self._text(), only_if_new=True)
        except FileExistsError:
            return False
        return True

    def _go_without(self) -> None:
        self.conditional = False
        print(
            f"{self.store.where}: the store has no conditional writes: of commands that start on it at one moment the "
            f"last goes on; one whose request takes more than {SETTLING:g} s ends another that has begun",
            file=sys.stderr,
        )

    def _renew(self) -> bool:
        """Give a sign of life; False: another process took it."""
        if not self.conditional and token_of(text := self._look()) != self.lease.token and text is not None:
            return False
        return self._write()

    def keep(self) -> None:
        while not self.ended.wait(BEAT):
            try:
                if not self._renew():
                    self.lease.lost = True  # this process was thought dead; the other goes on
                    return
            except UserError:
                continue  # the store cannot be reached: uploads meet that, too, and say so

    def release(self) -> None:
        """Delete it if it is this process's; renewed just before, it is nobody else's for a while."""
        with suppress(UserError, FileNotFoundError):  # it runs out by itself; what ended the run is to be told
            if not self.lease.lost and self._renew():
                self.store.delete(LOCK)


def _owner(text: bytes) -> str:
    return next(iter(text.decode(errors="replace").splitlines()), "another process")
