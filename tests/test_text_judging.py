"""Texts that are generated, printed, looked at and judged, by the commands."""

import json
import re
import shutil
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ragdist.evaluate import main as judge
from ragdist.generate import main as draw
from ragdist.metrics.frechet import frechet_distance
from ragdist.metrics.moments import Moments
from ragdist.modalities.base import Form
from ragdist.modalities.text import chains, judging, measures, reading
from ragdist.modalities.text.features import NGramFeatures
from ragdist.modalities.text.ngrams import NGrams
from ragdist.modalities.text.scores import SCORES
from ragdist.modalities.text.strings import strings
from ragdist.tools.errors import UserError
from tests.conftest import TINY, command, refused_here

T = 16
NETWORK = [words for words in TINY if not words.startswith("--monitor")]
FEW = ["--samples=60", "--features=ngrams", "--device=cpu"]
SYLLABLES = ("ba", "ki", "to", "lu", "se", "<b>", "&c")


def lines(seed: int, count: int) -> list[str]:
    """Lines of some syllables; every second one in capitals."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        words = ["".join(rng.choice(SYLLABLES, 2)) for _ in range(rng.integers(2, 4))]
        line = " ".join(words)[:T]
        found.append(line.upper() if i % 2 else line)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with texts of two classes, shards of them and of others, and a run of two updates that judged itself."""
    cwd = tmp_path_factory.mktemp("texts")
    for name, found in (("texts", lines(0, 240)), ("others", lines(1, 80))):
        for i, line in enumerate(found):
            path = cwd / name / ("small", "LARGE")[i % 2] / f"{i:03d}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(line + "\n")
    for source, out in (("texts", "data"), ("others", "held")):
        made = command("ragdist.shards", source, out, f"--tokens={T}", "--processes=1", cwd=cwd)
        assert made.returncode == 0, made.stderr
    options = ["--data=data", "--out=run", "--samples=64", "--network.labels=true", "--monitor.grid_every=64"]
    options += ["--evaluate_every=64", "--evaluate.samples=20", "--evaluate.features=ngrams", "--evaluate.cache=cache"]
    made = command("ragdist.train", *NETWORK, *options, "--evaluate.best=js_3", cwd=cwd)
    assert made.returncode == 0, made.stderr
    assert re.search(r"js_3 [\d.]+, js_4 [\d.]+, reverse_lm_score [\d.]+; the best js_3 so far", made.stdout)
    assert re.search(r"python -m ragdist.generate run --n 64 --seed 1$", made.stdout, re.M)
    return cwd


def test_texts_are_printed_and_written_and_are_the_same(place, tmp_path, capsys):
    run = str(place / "run")
    draw([run, "--n=5"])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    for out in ("all.txt", "all.jsonl", "each"):
        draw([run, "--n=5", f"--out={tmp_path / out}"])
        assert f"{out}: 5 texts of the generator after 64 texts" in capsys.readouterr().out
    assert (tmp_path / "all.txt").read_text() == "".join(f"{line}\n" for line in printed)
    assert [json.loads(line)["text"] for line in (tmp_path / "all.jsonl").read_text().splitlines()] == printed
    assert [path.read_text() for path in sorted((tmp_path / "each").iterdir())] == [f"{line}\n" for line in printed]


def test_a_class_by_name_and_rows_between_latents(place, tmp_path, capsys):
    run = str(place / "run")
    for chosen in ("small", "LARGE"):
        draw([run, "--n=8", f"--class={chosen}"])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 16
    assert printed[:8] != printed[8:]
    draw([run, "--interpolate", "--n=2", "--frames=3"])
    rows = capsys.readouterr().out.split("\n\n")
    assert [len(row.strip().splitlines()) for row in rows] == [4, 4]
    draw([run, "--interpolate", "--n=2", "--frames=3", f"--out={tmp_path / 'rows.txt'}"])
    assert "2 rows of 4 texts, one after the other, of the generator" in capsys.readouterr().out
    assert (tmp_path / "rows.txt").read_text() == "\n".join(row.strip("\n") for row in rows) + "\n"


def test_names_that_hold_no_texts_are_refused(place):
    run = place / "run"
    assert refused_here(draw, run, "--out=a.png") == "--out a.png: end it in .txt or .jsonl, or name a folder"
    assert refused_here(draw, run, "--out=a.gif", "--interpolate").endswith("into one file; name it a.txt")
    assert refused_here(draw, run, "--out=a", "--interpolate").endswith("into one file; name it a.txt")


def test_tensorboard_shows_texts(place):
    events = EventAccumulator(str(place / "run"), {"tensors": 0, "images": 0}).Reload()
    first, last = events.Tensors("samples/text_summary")
    assert (first.step, last.step) == (0, 64)
    shown = last.tensor_proto.string_val[0].decode().splitlines()
    assert len(shown) == 20
    assert all(line.startswith("    ") for line in shown)
    assert len(events.Images("samples")) == 2


@pytest.fixture(scope="module")
def judged(place):
    """What evaluation.json and the page say of the run."""
    judge(
        [str(place / "run"), *FEW, f"--data={place / 'data'}", f"--cache={place / 'cache'}", f"--out={place / 'out'}"]
    )
    return json.loads((place / "out/evaluation.json").read_text()), (place / "out/evaluation.html").read_text()


def test_the_report_has_the_samples_beside_chains_and_says_where_they_stand(judged):
    content, page = judged
    (table,) = content["tables"]
    assert [row["title"] for row in table["rows"]] == [
        "samples", "texts put aside", *(f"chain of order {order}" for order in range(6))
    ]  # fmt: skip
    assert list(table["columns"]) == list(SCORES)
    own, aside, *ladder = table["rows"]
    assert all(content["figures"][name]["value"] == own[name] for name in SCORES)
    assert ladder[0]["js_3"] > ladder[1]["js_3"] > ladder[2]["js_3"] > aside["js_3"] / 2
    assert content["headlines"][0].startswith("JS-4 ")
    body = page.split("</h1>\n")[1]
    assert body.startswith(f"<p><b>{content['headlines'][0]}.</b></p>")
    assert page.count("<td>chain of order ") == 6
    assert "&lt;" in page
    assert "<b>" not in page.replace("<p><b>", "")


def test_the_page_marks_what_differs_from_the_nearest_training_text(judged):
    _, page = judged
    part = page.split("<h2>Nearest training texts</h2>")[1].split("<h2>")[0]
    pairs = re.findall(r'<div class="pair"><pre dir="auto">(.*?)</pre><pre dir="auto">(.*?)</pre></div>', part)
    assert len(pairs) == 2 * 15
    for pair in pairs:
        kept = [re.sub(r"<mark>.*?</mark>", "", side) for side in pair]
        assert kept[0] == kept[1]
    assert any("<mark>" in side for pair in pairs for side in pair)


def test_a_ladder_is_computed_once(place, judged, capsys):
    content, _ = judged
    before = {path: path.stat().st_mtime_ns for path in (place / "cache/evaluation").iterdir()}
    capsys.readouterr()
    judge(
        [str(place / "run"), *FEW, f"--data={place / 'data'}", f"--cache={place / 'cache'}", f"--out={place / 'two'}"]
    )
    printed = capsys.readouterr().out
    assert printed.startswith(content["headlines"][0])
    assert "features from the cache" in printed
    assert re.search(r"^chain of order 5 +\S+ .* \S+$", printed, re.M)
    assert {path: path.stat().st_mtime_ns for path in (place / "cache/evaluation").iterdir()} == before
    again = json.loads((place / "two/evaluation.json").read_text())
    assert (again["tables"], again["figures"]) == (content["tables"], content["figures"])


def test_a_file_of_lines_is_judged_and_by_held_out_texts(place, tmp_path):
    source = tmp_path / "lines.txt"
    known = lines(0, 240)[:40]
    source.write_text("\n".join([*known, "", "ba" * T, "\u05d0\u05d1 ki", "ba ki"]) + "\r\n")
    words = [*FEW, f"--data={place / 'data'}", f"--cache={tmp_path}", f"--out={tmp_path / 'out'}"]
    judge([str(source), *words, f"--held_out={place / 'held'}"])
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert (content["judged"]["files"], content["judged"]["held"]) == (1, 43)
    assert content["figures"]["copied_lines"]["value"] == pytest.approx(40 / 43, abs=0.03)
    assert content["tables"][0]["rows"][1]["title"] == "held-out texts"
    notes = "\n".join(content["notes"])
    assert f"cut to {T} tokens: 1 of 43 samples" in notes
    assert "with characters that the data do not have: 1 of 43 samples" in notes
    assert "blank lines, left out: 1; whether they are empty texts" in notes
    assert "43 texts" in (tmp_path / "out/evaluation.html").read_text()
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(source, folder)
    (folder / "more.jsonl").write_text('{"text": "lu se"}\n')
    judge([str(folder), *words[:-1], f"--out={tmp_path / 'both'}", "--metrics=text_scores"])
    assert json.loads((tmp_path / "both/evaluation.json").read_text())["judged"]["held"] == 44
    (folder / "more.jsonl").write_text('{"line": "lu se"}\n')
    assert 'line 1 is no JSON object with a string "text"' in refused_here(judge, folder, *words)
    source.write_bytes(b"\xe9\n")
    assert "it is no text in UTF-8" in refused_here(judge, source, *words)
    source.write_text("\n\n")
    assert refused_here(judge, source, *words) == f"{source} holds no texts"


def test_any_character_but_a_line_feed_may_stand_in_a_line_of_json():
    form = Form((4,), {"tokens": ["", "\x85", "\u2028", "a", "\x0c"]})
    content = '{"text": "a\x85a"}\r\n{"text": "\u2028"}\n\n{"text": ""}\n'
    assert reading.objects(content.encode(), form) == ["a\x85a".encode(), "\u2028".encode(), b""]


def test_a_classifier_of_texts_names_the_class_that_was_asked_for(place, tmp_path):
    source = tmp_path / "lines.txt"
    source.write_text("\n".join(lines(2, 40)))
    words = [str(source), "--samples=40", f"--data={place / 'data'}", "--device=cpu", f"--cache={tmp_path}"]
    judge([*words, "--metrics=classes,frechet", f"--out={tmp_path / 'out'}"])
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert content["protocol"]["classifier"]["accuracy"] > 0.95
    assert content["figures"]["class_kl"]["value"] < 0.02
    judge([str(place / "run"), *words[1:], "--metrics=classes", f"--out={tmp_path / 'run'}"])
    content = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert 0 <= content["figures"]["label_accuracy"]["value"] <= 1


def test_statistics_of_shards_count_lengths(place):
    made = command("ragdist.shards", "stats", "data", "--out=thumbnails.html", cwd=place)
    assert made.returncode == 0, made.stderr
    longest = max(map(len, lines(0, 240)))
    assert re.search(rf"length +min \d+, median \d+, max {longest} tokens", made.stdout)
    assert re.search(r"empty +0 \(0\.0%\)", made.stdout)
    assert '<pre dir="auto">' in (place / "thumbnails.html").read_text()


TOKENS = st.lists(st.characters(exclude_characters="\u23ce\u240d"), min_size=1, max_size=20, unique=True)


@settings(max_examples=60, deadline=None)
@given(TOKENS, st.data())
def test_any_script_is_written_read_back_shown_and_pictured(tmp_path_factory, tokens, data):
    form = Form((T,), {"tokens": ["", *tokens]})
    ids = data.draw(st.lists(st.lists(st.integers(1, len(tokens)), min_size=1, max_size=T), min_size=1, max_size=4))
    rows = torch.tensor([row + [0] * (T - len(row)) for row in ids], dtype=torch.uint8)
    tall = judging.preview(rows, form).size
    assert judging.preview(rows * 0, form).size == tall
    assert judging.show(rows, form).isprintable() or len(rows) > 1
    assert "<pre" in judging.html(rows, form, 2) + judging.html_pairs(rows, rows.flip(0), form)
    texts = strings(rows, form)
    assume(not any("\ud800" <= token <= "\udfff" for token in tokens))  # half of a pair: no file of text has it
    assume(texts == [unicodedata.normalize("NFC", text) for text in texts if text.strip() and not text.endswith("\r")])
    out = tmp_path_factory.mktemp("any")
    for name, split in (("a.txt", reading.lines), ("a.jsonl", reading.objects)):
        judging.write(rows, form, out / name, None)
        found = [reading.payload(item, form) for item in split((out / name).read_bytes(), form)]
        assert [np.frombuffer(payload, np.uint8).tolist() for payload, _ in found] == rows.tolist()
        assert not any(notes for _, notes in found)


def test_line_endings_are_marked_unless_the_texts_have_the_mark(tmp_path):
    rows = torch.tensor([[1, 2, 3]], dtype=torch.uint8)
    judging.write(rows, Form((3,), {"tokens": ["", "a", "\n", "b"]}), tmp_path / "a.txt", None)
    assert (tmp_path / "a.txt").read_text() == "a\u23ceb\n"
    form = Form((3,), {"tokens": ["\u23ce", "a", "\n", "b"]})
    with pytest.raises(UserError, match=r"which the texts have, too: name a [.]jsonl$"):
        judging.write(rows, form, tmp_path / "b.txt", None)
    judging.write(rows, form, tmp_path / "b.jsonl", None)
    assert json.loads((tmp_path / "b.jsonl").read_text()) == {"text": "a\nb"}


def test_pairs_of_bytes_are_merged_as_the_data_were():
    form = Form((3,), {"tokens": ["", "a", "b", "ab", "abb", "\ufffd"], "merges": [["a", "b"], ["ab", "b"]]})
    for text, row, notes in (("abbab", [4, 3, 0], 0), ("a?", [1, 5, 0], 1), ("bbbb", [2, 2, 2], 1)):
        payload, found = reading.payload(text.encode(), form)
        assert (np.frombuffer(payload, np.uint8).tolist(), len(found)) == (row, notes)
    with pytest.raises(ValueError, match="it has 1 of 3 tokens"):
        reading.payload(b"a", Form((3,), {"tokens": ["a"]}))


def test_where_samples_stand_is_said_plainly():
    ladder = [0.87, 0.53, 0.22, 0.079, 0.081]
    worse = "JS-4 0.610: worse than a chain of order 1 (0.530), better than one of order 0 (0.870)"
    assert measures.place("js_4", 0.61, ladder) == worse
    assert measures.place("js_4", 0.9, ladder) == "JS-4 0.900: worse than a chain of order 0 (0.870)"
    assert measures.place("js_4", 0.01, ladder) == "JS-4 0.010: better than chains of any order up to 4 (0.081)"
    assert measures.place("reverse_lm_score", float("nan"), ladder) == "reverse LM score: these samples have none"


def test_features_tell_chains_of_low_orders_from_texts_best():
    texts = [" ".join(lines(seed, 6))[: 2 * T] for seed in range(600)]
    alphabet = sorted(set("".join(texts)))
    form = Form((2 * T,), {"tokens": ["", *alphabet]})
    extractor = NGramFeatures(form)

    def moments(texts: list[str]) -> Moments:
        rows = torch.tensor([[alphabet.index(c) + 1 for c in text.ljust(2 * T)] for text in texts])
        found = Moments.zero(extractor.dim)
        found.add(extractor(rows)[0])
        return found

    real, counted = moments(texts[:300]), NGrams(texts[:300])
    ladder = [chains.sample(counted, order, 300, 2 * T) for order in range(3)]
    distances = [frechet_distance(moments(found), real) for found in (*ladder, texts[300:])]
    assert all(one > 1.1 * other for one, other in pairwise(distances)), distances
    assert torch.equal(*(extractor(torch.ones(2, 2 * T, dtype=dtype))[0] for dtype in (torch.uint8, torch.int16)))
    assert NGramFeatures(Form((1,), {"tokens": alphabet}))(torch.ones(2, 1))[0].isfinite().all()


def test_held_out_texts_of_another_alphabet_are_told_how_to_be_made(place, tmp_path):
    (tmp_path / "a.txt").write_text("zz\nxx\n")
    command("ragdist.shards", "a.txt", "held", f"--tokens={T}", cwd=tmp_path)
    words = [*FEW, f"--data={place / 'data'}", f"--cache={tmp_path}", f"--out={tmp_path / 'out'}"]
    held = tmp_path / "held"
    assert refused_here(judge, place / "run", *words, f"--held_out={held}") == (
        f"--held_out {held} has other tokens than the training data: make them with --vocabulary of:{place / 'data'}"
    )


@pytest.mark.parametrize(("tokens", "name"), [
    (["", "a", "b"], "with unknown characters"), (["", "\ufffd", "a"], "with unknown characters"), (["\ufffd", "a"], "with unknown characters"),
    (["a", "\ufffd"], "with U+FFFD"), (["", "a", "\ufffd"], "with U+FFFD"),
])  # fmt: skip
def test_statistics_call_a_replacement_character_of_the_data_so(tokens, name):
    form, rows = Form((2,), {"tokens": tokens}), torch.tensor([[0, 1]], dtype=torch.uint8)
    found = {statistic.name: statistic.values for statistic in judging.statistics([], rows, form)}
    assert found[name] == ["\ufffd" in tokens[:2]]
