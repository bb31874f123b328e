"""N-grams, chains, the language model and words of texts: pure functions, and facts of a well-known text."""

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.modalities.text import chains, words
from ragdist.modalities.text.language_model import bits
from ragdist.modalities.text.ngrams import END, NGrams, divergences
from ragdist.modalities.text.scores import SCORES, TrainingTexts

LINES = st.lists(st.text("ab \U0001f600\ud800", max_size=7), min_size=1, max_size=6)


def grams_of(texts: list[str], n: int) -> Counter:
    return Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))


def divergence(p: Counter, q: Counter) -> float:
    """The definition, term by term."""
    if not p or not q:
        return 1.0
    total = 0.0
    for gram in p | q:
        a, b = p[gram] / p.total(), q[gram] / q.total()
        total += sum(x * math.log2(2 * x / (a + b)) / 2 for x in (a, b) if x)
    return total


@settings(max_examples=60, deadline=None)
@given(LINES, LINES)
def test_divergences_are_those_of_the_definition(samples, training):
    counted = NGrams(training, 4)
    found = divergences(samples, counted)
    wanted = [divergence(grams_of(samples, n), grams_of(training, n)) for n in range(1, 5)]
    assert found == pytest.approx(wanted, abs=1e-9)
    assert divergences(training, counted)[0] == pytest.approx(0 if any(training) else 1, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(LINES, st.integers(0, 3))
def test_a_chain_writes_what_the_training_texts_have(training, order):
    written = chains.sample(NGrams(training, 4), order, 20, 7, seed=3)
    assert written == chains.sample(NGrams(training, 4), order, 20, 7, seed=3)
    assert written[:5] == chains.sample(NGrams(training, 4), order, 5, 7, seed=3)
    if any(training):
        assert all(len(text) == 7 for text in written)
        assert set("".join(written)) <= set("".join(training))
        assert all(text[0] in {line[0] for line in training if line} for text in written if order)


def test_a_chain_of_a_high_order_repeats_lines_and_their_ends():
    lines = ["abcd" + END, "xyz" + END, "mnopqr"]
    written = chains.sample(NGrams(lines, 4), 3, 300, 6)
    assert set(written) == set(lines)
    shares = np.array([written.count(line) for line in lines]) / 300
    assert np.abs(shares - 1 / 3).max() < 0.1
    longer = chains.sample(NGrams(["ab", "ba"], 4), 3, 50, 9)  # what follows where they stop: as after fewer characters
    assert all(set(text) == set("ab") and len(text) == 9 for text in longer)


def test_golden_lines():
    texts = ["the cat sat on the mat" + END, "a dog sat by the door" + END]
    written = chains.sample(NGrams(texts), 2, 3, 24, seed=5)
    assert written == ["the cat by the door" + END, "a door" + END, "a dog sat by the mat on "]


@settings(max_examples=40, deadline=None)
@given(LINES, st.text("ab \U0001f600", max_size=4))
def test_the_language_model_is_a_distribution_over_the_next_character(training, begun):
    alphabet = sorted(set("".join(training)) | set("ab \U0001f600"))
    model = NGrams(training, 4)
    before = bits([begun], model, len(alphabet)) * len(begun) if begun else 0.0
    whole = [bits([begun + c], model, len(alphabet)) * (len(begun) + 1) for c in alphabet]
    assert sum(2 ** (before - bit) for bit in whole) == pytest.approx(1, abs=1e-9)


def test_the_language_model_prefers_what_it_was_trained_on():
    model = NGrams(["the cat sat", "the dog sat"] * 5)
    likely, shuffled, unknown = (bits([text], model, 64) for text in ("the cat sat", "tac eht tas", "ЖЖЖЖЖЖЖЖЖЖЖ"))
    assert likely < 0.5 < 3 < shuffled < unknown
    assert math.isnan(bits([""], model, 64))
    assert bits(["abc"], NGrams([]), 64) == pytest.approx(6)


def test_words_that_a_window_may_have_cut_are_left_out():
    assert words.words("he cat sat o", begins=False) == ["cat", "sat"]
    assert words.words(" cat sat ", begins=False) == ["cat", "sat"]
    assert words.words("the cat sa", begins=True) == ["the", "cat"]
    assert words.words("the cat" + END, begins=True) == ["the", "cat"]
    assert words.words("the", begins=False) == words.words("", begins=True) == words.words(END, begins=False) == []
    assert words.known_words(["the cat sat on"], {"cat"}, begins=False) == 0.5
    assert math.isnan(words.known_words(["x"], {"x"}, begins=False))


def test_unique_and_copied_texts_are_counted():
    assert words.unique(["a", "a", "b", "b"]) == 0.5
    assert words.copied(["a", "a", "b", "c"], {"a", "x"}) == 0.5


def plain_self_bleu(texts: list[str]) -> float:
    """By the definition, one sentence after another."""
    sentences, values = [text.split() for text in texts], []
    for i, own in enumerate(sentences):
        others, logs = sentences[:i] + sentences[i + 1 :], []
        for n in range(1, 5):
            grams = grams_of([tuple(own)], n)
            if grams:
                clipped = sum(min(c, max(grams_of([tuple(o)], n)[g] for o in others)) for g, c in grams.items())
                logs.append(math.log((clipped or 0.1) / grams.total()))
        nearest = min(map(len, others), key=lambda length: (abs(length - len(own)), length))
        values.append(math.exp(sum(logs) / len(logs)) * min(1, math.exp(1 - nearest / len(own))))
    return sum(values) / len(values)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(" ".join), min_size=2, max_size=6))
def test_self_bleu_is_that_of_the_definition(texts):
    assert words.self_bleu(texts) == pytest.approx(plain_self_bleu(texts))
    assert words.self_bleu([*texts, "", END]) == pytest.approx(plain_self_bleu(texts))
    assert words.self_bleu(texts[:1] * 3) == pytest.approx(1)
    assert math.isnan(words.self_bleu(texts[:1]))


@pytest.fixture(scope="module")
def shakespeare():
    """Windows of 32 characters of tiny Shakespeare, lines joined by spaces: 3,000 and the others, counted."""
    path = Path(os.environ.get("RAGDIST_TEST_DATA", ""), "tinyshakespeare.txt")
    if not path.is_file():
        pytest.skip("RAGDIST_TEST_DATA names no folder with tinyshakespeare.txt")
    text = path.read_text().replace("\n", " ")
    windows = [text[i : i + 32] for i in range(0, len(text) - 31, 32)]
    order = np.random.default_rng(0).permutation(len(windows))
    return [windows[i] for i in order[:3000]], TrainingTexts([windows[i] for i in order[3000:]])


def test_held_out_text_and_chains_have_the_figures_that_are_known_of_them(shakespeare):
    held, training = shakespeare
    assert not training.begins
    found = training.scores(held, held)
    assert [found[f"js_{n}"] for n in (1, 2, 3, 4)] == pytest.approx([0, 0.003, 0.022, 0.087], abs=0.002)
    assert found["known_words"] == pytest.approx(0.93, abs=0.015)
    assert (found["unique_lines"], found["copied_lines"]) == (1, 0)
    assert list(found) == list(SCORES)
    for order, js_4, known in ((0, 0.869, 0.35), (1, 0.534, 0.50), (2, 0.219, 0.57)):
        written = chains.sample(training.grams, order, 3000, 32)
        assert divergences(written, training.grams)[3] == pytest.approx(js_4, abs=0.012), order
        assert words.known_words(written, training.known, begins=False) == pytest.approx(known, abs=0.02), order


def test_planted_defects_show_in_the_figures_that_are_for_them(shakespeare):
    held, training = shakespeare
    others, half = training.texts[:1500], held[:1500]
    natural = training.scores(half, others)
    collapsed = training.scores(half[:15] * 100, others)
    shuffled = training.scores(
        ["".join(np.random.default_rng(i).permutation(list(t))) for i, t in enumerate(half)], others
    )
    copied = training.scores(training.texts[3000:4500], others)
    assert collapsed["unique_lines"] == 0.01
    assert collapsed["lm_score"] == pytest.approx(natural["lm_score"], rel=0.2)  # which it does not see
    assert collapsed["reverse_lm_score"] > natural["reverse_lm_score"] + 1
    assert collapsed["self_bleu"] > 0.9 > 0.2 > natural["self_bleu"]
    assert collapsed["js_4"] > shuffled["js_2"] > 0.2 > natural["js_4"] > 10 * natural["js_1"]
    assert shuffled["js_1"] < 0.001
    assert shuffled["lm_score"] > 2 * natural["lm_score"]
    assert (copied["copied_lines"], natural["copied_lines"]) == (1, 0)
    assert copied["lm_score"] < 0.8 * natural["lm_score"]
