"""Words of messages."""


def printable(text: str) -> str:
    """A text of one line that any output takes: what is no printable character is escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]


def counted(number: int, noun: str) -> str:
    """A number of things: "1 worker", "4 workers"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def with_article(noun: str) -> str:
    """A noun with its article: "an image", "a text"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
