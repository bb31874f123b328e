"""The text that comes with Python: its language reference, as `help()` shows it. For a first run with nothing at hand.

It differs from one version of Python to the next.
"""

import hashlib
from pathlib import Path

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.source import Source


class TopicReader:
    """Reads a topic by its name."""

    def __call__(self, place: str) -> bytes:
        return _topics()[place].encode()


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The source of all topics."""
    topics = _topics()
    places = sorted(topics)
    content = hashlib.sha256("\0".join(topics[place] for place in places).encode())
    return Source(places, places, TopicReader(), "text", f"topics {content.hexdigest()}")


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return topics
