"""Texts: documents, alphabets, the way into shards and back, the networks and heads that make them."""

import re
import unicodedata

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings

from ragdist import shards, train
from ragdist.config.run import ObjectiveOptions
from ragdist.data import index as index_file
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.evaluation.reference_data import DataSet
from ragdist.modalities.base import Form
from ragdist.modalities.text import making, strings, training
from ragdist.modalities.text.document import Document
from ragdist.modalities.text.options import TextOptions
from ragdist.networks import HEADS
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.tools.errors import UserError
from ragdist.training.batch import Batch
from ragdist.training.update import Update
from tests.conftest import refused_here
from tests.test_update import error, gradients

NETWORK = {
    "family": "resnet1d", "z_dim": 8, "g_width": 16, "d_width": 16, "max_width": 32, "blocks": 1, "expand": 2,
    "group_width": 16, "head": "",
}  # fmt: skip


def made(texts: list[str], **options) -> list[str]:
    """Texts after their way to token numbers, as samples, and back."""
    documents, options = [Document(text) for text in texts], TextOptions(**options)
    fitted = making.fit(documents, options)
    found = []
    for document in documents:
        for part in range((making.parts(fitted) or (lambda document: 1))(document)):
            encoded = making.encode(document, fitted, part)
            payload = torch.frombuffer(bytearray(encoded.data), dtype=torch.uint8)
            found += strings.strings(training.decode(payload, encoded.form)[None], encoded.form)
    return found


LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=12)


@example(["שלום", "e\u0301", "👩\u200d👩\u200d👧", "\0", "\ufffd"])
@given(st.lists(LINES.filter(str.strip), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_lines_come_back_as_they_were_but_for_their_normal_form(lines):
    expected = [unicodedata.normalize("NFC", line) for line in lines]
    assert made(lines, tokens=40) == expected


@given(st.text("ab \n", min_size=1, max_size=60).filter(str.strip), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_windows_are_all_of_a_text_but_its_end(text, tokens):
    windows = made([text], tokens=tokens, per="window")
    assert text.startswith("".join(windows))
    assert len(windows) == max(len(text) // tokens, 1)


def test_the_vocabulary_is_the_most_frequent_characters_and_what_else_is_needed():
    fitted = making.fit([Document("aaab\nbc")], TextOptions(tokens=4, vocabulary="chars:2"))
    assert fitted.learned.tokens == ("", "\ufffd", "a", "b")
    assert making.fit([Document("aaab\nbccd")], TextOptions(tokens=4)).learned.tokens == ("a", "b", "c", "d")
    assert made(["aaab\nbc"], tokens=4, vocabulary="chars:2") == ["aaab", "b\ufffd"]
    for wrong in ("chars:0", "chars:x", "words", "bpe", "bpe:0"):
        with pytest.raises(UserError, match=f"--vocabulary {wrong}: give chars"):
            making.fit([Document("a")], TextOptions(vocabulary=wrong))


@given(st.lists(LINES.filter(str.strip), min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_groups_of_characters_join_to_the_same_lines(lines):
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    assert made(lines, tokens=40, vocabulary="bpe:300") == [unicodedata.normalize("NFC", line) for line in lines]


def test_frequent_groups_are_tokens():
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    text = "the cat and the hat and the mat " * 8
    fitted = making.fit([Document(text)], TextOptions(tokens=6, per="window", vocabulary="bpe:40"))
    assert " the" in fitted.learned.tokens
    assert making.encode(Document(text), fitted).spec == fitted.learned.spec
    windows = made([text], tokens=6, per="window", vocabulary="bpe:40")
    assert text.startswith("".join(windows))
    assert len(windows[0]) > 6
    assert making.fit([Document(text)], TextOptions(vocabulary="bpe:40")) == making.fit(
        [Document(text)], TextOptions(vocabulary="bpe:40")
    )
    with pytest.raises(UserError, match="bpe:5: the data's characters alone are 10 tokens"):
        making.fit([Document(text)], TextOptions(vocabulary="bpe:5"))


def test_many_characters_take_two_bytes_each():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    assert made([text], tokens=300, vocabulary="chars:1000") == [text]
    assert made([text], tokens=300)[0].count("\ufffd") == 300 - 254


def test_shards_of_texts_are_packed_and_read_as_they_were_written(tmp_path):
    lines = [f"line {number % 7} of {number}" for number in range(300)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    shards.main([str(tmp_path / "a.txt"), str(tmp_path / "out"), "--tokens=16", "--processes=1"])
    index = index_file.load(tmp_path / "out")
    assert (index.codec, index.shape, index.classes, len(index.shards)) == ("text", (16,), (), 1)
    assert ShardReader(ShardFiles(tmp_path / "out", index)).read(0, 0)[0].dtype == torch.uint8
    samples, there = DataSet(str(tmp_path / "out"), tmp_path).samples(np.arange(300))
    assert there.all()
    assert sorted(strings.strings(samples, index.form)) == sorted(line[:16] for line in lines)


def test_a_payload_that_is_no_row_of_tokens_is_refused():
    form = Form((4,), {"tokens": ["", "a", "b"]})
    with pytest.raises(ValueError, match="3 bytes"):
        training.decode(torch.zeros(3, dtype=torch.uint8), form)
    with pytest.raises(ValueError, match="token 7"):
        training.decode(torch.tensor([0, 1, 2, 7], dtype=torch.uint8), form)


def test_networks_see_one_hot_columns_and_their_likeliest_tokens_are_stored():
    form = Form((4,), {"tokens": ["", "a", "b"]})
    samples = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]], dtype=torch.uint8)
    seen = training.to_network(samples, form)
    assert seen.shape == (2, *training.network_shape(form)) == (2, 3, 4)
    assert (seen.sum(1) == 1).all()
    assert training.from_network(seen, form).equal(samples)
    assert training.from_network(seen * 0.4 + 0.2, form).equal(samples)


@pytest.mark.parametrize("head", ["softmax", "straight_through"])
def test_generated_columns_are_distributions_with_the_gradient_of_the_softmax(head):
    logits = torch.randn(2, 5, 3, requires_grad=True)
    columns, weights = HEADS[head](logits), torch.randn(2, 5, 3)
    assert torch.allclose(columns.sum(1), torch.ones(2, 3))
    assert head == "softmax" or ((columns.round() - columns).abs() < 1e-6).all()
    (found,) = torch.autograd.grad((columns * weights).sum(), logits, retain_graph=True)
    (soft,) = torch.autograd.grad((HEADS["softmax"](logits) * weights).sum(), logits)
    assert torch.allclose(found, soft)


def test_a_head_that_makes_no_distributions_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("abc\nabd\n" * 20)
    shards.main([str(tmp_path / "a.txt"), str(tmp_path / "data"), "--tokens=4", "--processes=1"])
    given = [
        "--config=text",
        f"--data={tmp_path / 'data'}",
        f"--out={tmp_path / 'run'}",
        "--workers=0",
        "--batch_size=32",
    ]
    for head in ("tanh", "identity"):
        with pytest.raises(UserError, match=f"--network.head {head}: .* give softmax or straight_through"):
            train.main([*given, f"--network.head={head}"])


def test_texts_are_made_at_their_full_length_and_signals_from_a_few_steps():
    text, signal = (build_generator(NETWORK, (6, 32), 0, head=head) for head in ("straight_through", "identity"))
    assert (text.steps, signal.steps) == (32, 8)
    for generator, head in ((text, "straight_through"), (signal, "identity")):
        fakes = generator(torch.randn(3, 8))
        assert fakes.shape == (3, 6, 32)
        logits = build_discriminator(NETWORK, (6, 32), 0, head=head)(fakes)
        assert logits.shape == (3,)
    assert build_generator(NETWORK | {"head": "softmax"}, (6, 32), 0, head="identity").steps == 32
    with pytest.raises(ValueError, match=r"takes samples of .channels, length."):
        build_generator(NETWORK, (6,), 0)


@pytest.mark.parametrize("head", ["softmax", "straight_through"])
@pytest.mark.parametrize("penalty", [False, True])
def test_one_pass_over_texts_equals_alternating(head, penalty):
    networks = [build(NETWORK, (6, 32), 0, head=head) for build in (build_generator, build_discriminator)]
    objective = ObjectiveOptions(lam=2.0, group=8, r1=0.3, r2=0.7)
    update = Update(*networks, objective, batch_size=16, points=training.points)
    real = torch.nn.functional.one_hot(torch.randint(6, (16, 32))).float().transpose(1, 2)
    batch = Batch(torch.randn(16, 8), real, None)
    one, _ = gradients(update, batch, ("both",), 2.0, penalty)
    two, _ = gradients(update, batch, ("d", "g"), 2.0, penalty)
    for player in ("generator", "discriminator"):
        assert two[player].norm() > 1e-6
        assert error(one[player], two[player]) < 1e-5


def test_points_differ_by_every_token_and_are_differentiable():
    form = Form((8,), {"tokens": list("abcd")})
    samples = torch.randint(4, (5, 8), dtype=torch.uint8)
    other = samples.clone()
    other[:, 3] = (other[:, 3] + 1) % 4
    seen = training.to_network(samples, form).requires_grad_()
    points = training.points(seen, 32)
    assert (points - training.points(training.to_network(other, form), 32)).norm(dim=1).min() > 0.1
    points.square().sum().backward()
    assert seen.grad.abs().sum() > 0


def test_a_preset_trains_on_the_text_that_comes_with_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--network.g_width=16", "--network.d_width=16", "--network.group_width=16", "--network.blocks=1"]
    train.main(
        [
            "--config=text",
            "--workers=0",
            "--samples=128",
            "--batch_size=32",
            "--objective.group=32",
            "--out=run",
            *small,
        ]
    )
    index = index_file.load(tmp_path / "shards/text")
    assert (index.codec, index.shape) == ("text", (32,))
    assert (tmp_path / "run/generator.safetensors").is_file()
    line = refused_here(train.main, "--config=text", "--workers=0", "--network.family=resnet", "--out=other")
    assert "use network.family 'resnet1d' or 'mlp'" in line or "resnet1d" in line


def written(content: bytes, tmp_path, capsys, *options: str) -> str:
    """What the command says of a file of text."""
    (tmp_path / "a.txt").write_bytes(content)
    shards.main([str(tmp_path / "a.txt"), str(tmp_path / "out"), "--processes=1", "--modality=text", *options])
    return capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_says_the_encoding(tmp_path, capsys, encoding):
    written("one\ntwö\n".encode(encoding), tmp_path, capsys, "--tokens=4")
    index = index_file.load(tmp_path / "out")
    assert index.samples == 2
    assert set(index.spec["tokens"]) == set("onetwö") | {""}


def test_a_text_in_utf_16_without_a_mark_is_refused(tmp_path, capsys):
    for encoding in ("utf-16le", "utf-16be"):
        with pytest.raises(UserError, match=f"every second byte is 0, .* iconv -f {encoding} -t utf-8"):
            written("one line of text\n".encode(encoding), tmp_path, capsys)
    assert "2 samples" in written(b"a\0b\0\0c and more\nnext\0\n", tmp_path, capsys)


def test_blank_lines_and_rests_of_files_are_counted(tmp_path, capsys):
    said = written(b"one\n\n  \ntwo\n\n", tmp_path, capsys, "--tokens=4")
    assert "blank lines, left out: 3\n" in said
    for more in ("--per=paragraph", "--per=window"):
        said = written(b"one\n\n  \ntwo\n\n", tmp_path, capsys, "--tokens=6", "--overwrite", more)
        assert "blank lines" not in said
        assert ("before a rest of a file that fills no window, left out: 1 of 2" in said) == (more == "--per=window")
    said = written(b"abcdef", tmp_path, capsys, "--tokens=3", "--overwrite", "--per=window")
    assert "left out" not in said


@pytest.mark.parametrize("per", ["line", "window"])
@pytest.mark.parametrize("vocabulary", ["chars:4", "bpe:6"])
def test_a_replacement_character_of_the_data_is_a_character(tmp_path, capsys, per, vocabulary):
    if vocabulary.startswith("bpe"):
        pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    given = (f"--per={per}", "--tokens=4", f"--vocabulary={vocabulary}")
    assert "unknown" not in written("aab\ufffd\naba\ufffd\n".encode(), tmp_path, capsys, *given)
    if vocabulary == "chars:4":
        said = written("aab\ufffd\naba\ufffd\ncc\naaz".encode(), tmp_path, capsys, *given, "--overwrite")
        assert re.search("with unknown characters: 1 of [34]", said)


def test_groups_of_characters_and_halves_of_surrogate_pairs(tmp_path, capsys):
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    (tmp_path / "a.jsonl").write_text('{"text": "half \\ud83d of a pair"}\n{"text": "of a pair"}\n')
    shards.main([str(tmp_path / "a.jsonl"), str(tmp_path / "out"), "--vocabulary=bpe:20", "--processes=1"])
    assert "with unknown characters: 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "then"),
    [({}, "abc\nabd\n"), ({"vocabulary": "chars:300"}, "abc\nab\n"), ({}, "abc\n"), ({"per": "window"}, "abz"),
     ({"per": "window"}, "a"), ({"per": "window"}, "abc"), ({"vocabulary": "bpe:20"}, "abd\nabc")],
)  # fmt: skip
def test_a_file_that_changed_after_its_alphabet_was_learned_is_no_sample(options, then):
    if options.get("vocabulary") == "bpe:20":
        pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    fitted = making.fit([Document("abc\nabc")], TextOptions(tokens=3, **options))
    with pytest.raises(ValueError, match="it was changed meanwhile, after all were looked at"):
        [making.encode(Document(then), fitted, part) for part in (0, 1)]


@pytest.mark.parametrize("how", ["chars", "bpe:12"])
def test_held_out_texts_take_the_vocabulary_of_others(tmp_path, capsys, how):
    if how != "chars":
        pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    written(b"abcab\nabdab\nab\n", tmp_path, capsys, "--tokens=5", f"--vocabulary={how}")
    (tmp_path / "out").rename(tmp_path / "data")
    words = ("--tokens=5", f"--vocabulary=of:{tmp_path / 'data'}")
    with pytest.raises(
        UserError, match=r"text 2 cannot be read .*it has characters that the vocabulary lacks.: remove"
    ):
        written(b"dcba\nabz\n", tmp_path, capsys, *words)
    assert "1 samples" in written(b"dcba\nabz\n", tmp_path, capsys, *words, "--bad=skip")
    assert index_file.load(tmp_path / "out").form == index_file.load(tmp_path / "data").form
    for wrong in ("of:", "of:nowhere"):
        with pytest.raises(UserError, match=f"--vocabulary {wrong}"):
            written(b"a\n", tmp_path, capsys, f"--vocabulary={wrong}", "--overwrite")
