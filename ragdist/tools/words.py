"""Words of messages."""


def with_article(noun: str) -> str:
    """A noun with its article: "an image", "a text"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
