"""Texts as people have them: files, folders and tables of texts, in their encodings; and what only seems to be text."""

import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import in_folder, pictures

EIGHT = ("--tokens=8",)
LINES = "one\ntwo\n\n  \nthree\n"


def lone(name: str, content: str | bytes, **how) -> Case:
    """A case of one file, which is the source."""
    how.setdefault("options", EIGHT)
    return Case(f"{name} {content[:30]!r}", in_folder({name: content}, source=name), **how)


def folder(title: str, files: dict[str, str | bytes], **how) -> Case:
    """A case of a folder of files."""
    how.setdefault("options", EIGHT)
    return Case(title, in_folder(files), **how)


CASES = [
    lone("a.txt", LINES, taken={None: 3}, shape=(8,), says=["a.txt is taken for texts", "padded: 3 of 3"]),
    lone("a.txt", LINES.replace("\n", "\r\n"), taken={None: 3}, says=["padded: 3 of 3"]),
    lone("a.txt", LINES.replace("\n", "\r"), taken={None: 3}),
    lone("a.txt", "\ufeff" + LINES, taken={None: 3}),
    lone("a.txt", LINES.encode("utf-16"), taken={None: 3}),
    lone("a.txt", "no newline at its end", taken={None: 1}, says=["cut: 1 of 1"], never=["padded"]),
    lone("a.txt", "caf\xe9\n".encode("latin-1"), refused="a.txt .*no text in UTF-8 .* at byte 3.: convert it"),
    lone("a.txt", "caf\xe9\n".encode("latin-1"), refused="none of the 1 texts", options=(*EIGHT, "--bad=skip")),
    lone("a.txt", "", refused="a.txt .*it is empty", options=(*EIGHT, "--modality=text")),
    lone("a.txt", " \n\n", refused="a.txt .*it holds no text", options=(*EIGHT, "--modality=text")),
    lone("a.txt", "to be, or not\nto be: that\n", taken={None: 3}, options=(*EIGHT, "--per=window"), never=["padded"]),
    lone("a.txt", "short", taken={None: 1}, options=(*EIGHT, "--per=window"), says=["padded: 1 of 1"]),
    lone("a.txt", "a\nb\n\n \nc\n", taken={None: 2}, options=(*EIGHT, "--per=paragraph")),
    lone("a.txt", "a\nb\n\n \nc\n", taken={None: 1}, options=(*EIGHT, "--per=file"), says=["cut: 1 of 1"]),
    lone("a.txt", "aab\nabc\n", taken={None: 2}, options=(*EIGHT, "--vocabulary=chars:2"),
         says=["with unknown characters: 1 of 2"]),
    lone("a.txt", "abcdefghZZZ\nhgfedcba\n", taken={None: 2}, says=["cut: 1 of 2"], never=["unknown"]),
    lone("a.txt", "a\n", refused="--vocabulary words: give chars", options=(*EIGHT, "--vocabulary=words")),
    lone("a.txt", "path,label\n0.png,a\n", refused="0.png cannot be read", options=()),  # a listing, as ever
    lone("a.csv", 'text,label\n"one, two",x\nthree,y\n', taken={"x": 1, "y": 1}, says=["texts are those of the column 'text'"]),
    lone("a.csv", 'text,label\n"' + "long " * 40_000 + '",x\nb,y\n', taken={"x": 1, "y": 1}),
    lone("a.csv", 'text,label\n"one\n""two""",x\nthree,y\n', taken={"x": 1, "y": 1}, options=("--per=file",)),
    lone("prose.txt", "Hello world\nI saw the photo.jpg\n", refused="no column 'path' .*; --modality text, if it is no", options=()),
    lone("empty.txt", "", refused="; --modality text, if it is no listing", options=()),
    lone("a.jsonl", '{"id": 1, "sentence": "one"}\n{"id": 2, "sentence": "two"}\n', taken={None: 2}),
    lone("a.jsonl", '{"text": "one"}\n{"text": null}\n', refused="line 2 cannot be read as a text .the row has no text"),
    lone("a.csv", "a,b\n1,2\n", refused="has no column 'text' but 'a', 'b'", options=(*EIGHT, "--modality=text")),
    folder("texts in class folders", {"good/1.txt": "a\nb\n", "bad/1.txt": "c\n"}, taken={"good": 2, "bad": 1}),
    folder("texts beside other files", {"1.txt": "a\n", "notes.md": "b\n"}, taken={None: 1},
           says=["ignored 1 files that are no texts, such as notes.md"]),
    folder("pictures with captions", pictures(["0.png", "1.png"]) | {"0.txt": "a cat", "1.txt": "a dog", "2.txt": "?"},
           taken={None: 2}, options=(), says=["ignored 3 files that are no images"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_texts(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
