"""Random damage, as disks, networks and programs do it to files."""

from collections.abc import Sequence
from random import Random


def _flip(random: Random, data: bytearray) -> None:
    for _ in range(random.choice((1, 1, 1, 2, 8, 64))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data)) :]


def _lose(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data))
    del data[start : start + random.choice((1, 4, 64, 512, 4096))]


def _repeat(random: Random, data: bytearray) -> None:
    start, size = random.randrange(len(data)), random.choice((1, 4, 64, 512, 4096))
    data[start:start] = data[start : start + size]


def _blank(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data))
    part = slice(start, min(len(data), start + random.choice((1, 4, 64, 512, 4096))))
    data[part] = bytes(part.stop - part.start) if random.random() < 0.5 else random.randbytes(part.stop - part.start)


def _edge(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data))
    number = random.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * random.choice((1, 2, 4, 8))
    data[start : start + len(number)] = number


def damaged(random: Random, originals: Sequence[bytes]) -> bytes:
    """One of the originals with one to three damages; at times the beginning of one with the end of another."""
    data = bytearray(random.choice(originals))
    if random.random() < 0.05:
        data[random.randrange(len(data) + 1) :] = (other := random.choice(originals))[random.randrange(len(other)) :]
    for _ in range(random.choice((1, 1, 2, 3))):
        if data:
            random.choice((_flip, _flip, _cut, _lose, _repeat, _blank, _edge))(random, data)
    return bytes(data)
