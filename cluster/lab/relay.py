"""``python -m cluster.lab.relay LINK LINK SECONDS``: pass Ethernet frames between two links with a delay.

For kernels without netem. Frames come and go with the kernel's offload header, so that they may be 64 KiB
segments without checksums, as they are inside the kernel; one costs about as much as one of 1500 bytes.
"""

import argparse
import errno
import select
import socket
import struct
import time
from collections import deque

# From <linux/if_packet.h> and <linux/if_ether.h>; Python does not name them.
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_MR_PROMISC = 1
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
ETH_P_ALL = 3
LARGEST = 70_000  # header and frame
KEPT = 128_000_000  # bytes under way in each direction; what comes then is dropped, as by a full router
READ_AT_ONCE = 64


class Way:
    """One direction of the relay: a queue of frames that are passed on after so many seconds."""

    def __init__(self, source: socket.socket, target: socket.socket, seconds: float):
        self.source, self.target, self.seconds = source, target, seconds
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.bytes = 0

    def take(self) -> None:
        """Read the frames that have arrived."""
        for _ in range(READ_AT_ONCE):
            try:
                frame = self.source.recv(LARGEST)
            except BlockingIOError:
                return
            if self.bytes + len(frame) <= KEPT:
                self.waiting.append((time.monotonic() + self.seconds, frame))
                self.bytes += len(frame)

    def give(self) -> None:
        """Send the frames that are due."""
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            frame = self.waiting.popleft()[1]
            self.bytes -= len(frame)
            try:
                self.target.send(frame)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EINVAL, errno.EMSGSIZE):
                    raise  # the link is gone

    def due(self) -> float:
        """Seconds until the next frame is due; 60 when none waits."""
        return max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else 60.0


def open_link(name: str) -> socket.socket:
    """Open a link for all frames that arrive there, and to send frames. Needs root."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    link.setsockopt(socket.SOL_SOCKET, 33, 16_000_000)  # SO_RCVBUFFORCE
    link.bind((name, ETH_P_ALL))
    everything = struct.pack("iHH8s", socket.if_nametoindex(name), PACKET_MR_PROMISC, 0, b"")
    link.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, everything)
    link.setblocking(False)
    return link


def main() -> None:
    parser = argparse.ArgumentParser("python -m cluster.lab.relay", description=__doc__.splitlines()[0])
    parser.add_argument("links", nargs=2, metavar="LINK")
    parser.add_argument("seconds", type=float, help="that each frame is delayed by")
    options = parser.parse_args()
    (first, second), seconds = map(open_link, options.links), options.seconds
    ways = {first: Way(first, second, seconds), second: Way(second, first, seconds)}
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select(list(ways), [], [], min(way.due() for way in ways.values()))
        for link in ready:
            ways[link].take()
        for way in ways.values():
            way.give()


if __name__ == "__main__":
    main()
