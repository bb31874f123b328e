"""Texts inside of a page: tables of lines, and pairs with what differs marked."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from html import escape

from ragdist.modalities.text.strings import shown

_DIFFED = 2_000  # characters: the time of finding what differs grows with the square

_STYLE = """<style>
table.texts { border-collapse: collapse; width: 100% } table.texts td { vertical-align: top; padding: 1px 12px 1px 0 }
table.texts pre, .pair pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px }
.pair { margin-bottom: 7px } .pair pre + pre { opacity: .75 } .pair mark { padding: 0; border-radius: 2px }
</style>"""


def table(texts: Sequence[str], columns: int) -> str:
    """Texts in so many columns, row by row, each in its own direction of writing."""
    cells = [f"<td>{_text(escape(shown(text)))}</td>" for text in texts]
    rows = ("".join(cells[i : i + columns]) for i in range(0, len(cells), columns))
    return f'{_STYLE}<table class="texts">{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'


def pairs(texts: Sequence[str], others: Sequence[str]) -> str:
    """Each text above another, with what differs marked in both."""
    found = (_marked(shown(text), shown(other)) for text, other in zip(texts, others, strict=True))
    return _STYLE + "".join(f'<div class="pair">{_text(text)}{_text(other)}</div>' for text, other in found)


def _text(content: str) -> str:
    return f'<pre dir="auto">{content}</pre>'


def _marked(text: str, other: str) -> tuple[str, str]:
    if max(len(text), len(other)) > _DIFFED:
        return escape(text), escape(other)
    found: tuple[list[str], list[str]] = ([], [])
    for kind, *bounds in SequenceMatcher(None, text, other, autojunk=False).get_opcodes():
        for side, whole, (begin, end) in zip(found, (text, other), (bounds[:2], bounds[2:]), strict=True):
            part = escape(whole[begin:end])
            side.append(part if kind == "equal" or not part else f"<mark>{part}</mark>")
    return "".join(found[0]), "".join(found[1])
