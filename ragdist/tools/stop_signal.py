"""Ctrl-C and SIGTERM as a flag that a loop asks."""

import signal


class StopOnSignal:
    """A flag: true after the first Ctrl-C or SIGTERM; the second one ends at once. A context."""

    def __init__(self):
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Install the handlers, again after a library installed its own."""
        for number in self._before:
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
