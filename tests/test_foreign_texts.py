"""Tars of texts that others packed, from the index to samples; pictures and sounds with texts beside them."""

import numpy as np
import pytest

from ragdist import evaluate, generate, shards, train
from ragdist.data import index as index_file
from ragdist.evaluation.reference_data import DataSet
from ragdist.modalities.text import strings
from tests.conftest import refused_here
from tests.data_in_the_wild.making import png, tar_of

LINES = [f"l\u00ednea {number} de {number % 7}" for number in range(48)]
SMALL = ("--batch_size=16", "--objective.group=16", "--network.g_width=16", "--network.d_width=16",
         "--network.group_width=16", "--network.blocks=1", "--workers=0")  # fmt: skip


def members(numbers: range, line=LINES.__getitem__) -> list[tuple[str, bytes]]:
    return [
        (f"{number:04d}.{name}", content)
        for number in numbers
        for name, content in (("txt", f"{line(number)}\r\n".encode()), ("cls", str(number % 2).encode()))
    ]


@pytest.fixture
def theirs(tmp_path):
    """Two tars of lines with labels."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for shard, numbers in enumerate((range(24), range(24, 48))):
        (folder / f"{shard}.tar").write_bytes(tar_of(members(numbers)))
    return folder


def texts(folder) -> list[str]:
    data = DataSet(str(folder), folder)
    samples, there = data.samples(np.arange(len(data)))
    assert there.all()
    return strings.strings(samples, data.index.form)


def test_their_alphabet_and_length_are_learned_from_all_members(theirs, capsys):
    shards.main(["index", str(theirs)])
    output = capsys.readouterr().out
    found = index_file.load(theirs)
    assert (found.codec, found.shape, found.classes) == ("text", (len("l\u00ednea 47 de 5"),), ("0", "1"))
    assert found.spec["payload"] == "txt"
    assert set("".join(found.spec["tokens"])) == set("".join(LINES))
    assert "padded: 10 of 48" in output
    assert texts(theirs) == LINES
    assert shards.main(["check", str(theirs)]) == 0


def test_what_is_cut_padded_or_unknown_is_counted(theirs, capsys):
    shards.main(["index", str(theirs), "--tokens=8", "--vocabulary=chars:9"])
    output = capsys.readouterr().out
    assert "cut: 48 of 48" in output
    assert "with unknown characters: " in output
    assert "padded: " not in output
    assert all(len(text) == 8 for text in texts(theirs))


def test_groups_of_characters(theirs):
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    shards.main(["index", str(theirs), "--tokens=12", "--vocabulary=bpe:40"])
    found = index_file.load(theirs)
    assert found.spec["merges"]
    assert texts(theirs) == LINES


@pytest.mark.parametrize(("content", "says"), [
    (b"caf\xe9", "no text in UTF-8"), (b"\n\n", "it holds no text"), (b"", "it is empty"),
])  # fmt: skip
def test_a_member_that_is_no_text_is_refused_or_left_out(theirs, content, says, capsys):
    (theirs / "1.tar").write_bytes(tar_of([*members(range(24, 47)), ("0047.txt", content), ("0047.cls", b"1")]))
    line = refused_here(shards.main, "index", str(theirs))
    assert says in line
    assert "0047" in line
    shards.main(["index", str(theirs), "--bad=skip"])
    assert "left out 1 samples" in capsys.readouterr().out
    assert texts(theirs) == LINES[:47]


def test_a_long_text_asks_how_much_of_one_is_a_sample(theirs):
    (theirs / "2.tar").write_bytes(tar_of([("0048.txt", b"ab " * 400), ("0048.cls", b"0")]))
    assert "1,200 characters: say with --tokens" in refused_here(shards.main, "index", str(theirs))


def test_pictures_with_captions_are_pictures_unless_the_texts_are_asked_for(tmp_path):
    content = [
        (f"{i:03d}.{name}", what)
        for i in range(3)
        for name, what in (("png", png(i)), ("txt", f"picture {i}".encode()))
    ]
    (tmp_path / "a.tar").write_bytes(tar_of(content))
    shards.main(["index", str(tmp_path)])
    assert index_file.load(tmp_path).codec == "image"
    shards.main(["index", str(tmp_path), "--modality=text", "--overwrite"])
    assert texts(tmp_path) == ["picture 0", "picture 1", "picture 2"]


def test_a_run_on_their_texts_writes_and_judges_such(theirs, tmp_path, capsys):
    shards.main(["index", str(theirs)])
    run = str(tmp_path / "run")
    train.main(["--config=text", f"--data={theirs}", f"--out={run}", "--samples=64", "--network.labels=true", *SMALL])
    capsys.readouterr()
    generate.main([run, "--n=3", "--class=1"])
    assert len(capsys.readouterr().out.splitlines()) >= 3
    generate.main([run, "--n=20", f"--out={tmp_path / 'lines.txt'}"])
    report = f"--out={tmp_path / 'report'}"
    evaluate.main([str(tmp_path / "lines.txt"), f"--data={theirs}", "--samples=20", "--features=ngrams", report])
    assert "JS-4" in capsys.readouterr().out
