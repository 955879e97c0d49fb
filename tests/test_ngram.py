"""The n-gram model: a proper distribution, an example by hand, ARPA there and back, bad files."""

import gzip
import math
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text import ngram
from ds2toolkit.text.ngram import BOS, EOS, UNK, estimate, perplexity, read_arpa, write_arpa

TEXT = [
    s.split()
    for s in ["the cat sat", "the cat ran", "a dog sat", "the dog", "a cat", "ran", "the cat sat on the mat"]
]
sentences = st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1, max_size=40).filter(any)


def contexts(model):
    return [(), *(key for table in model.tables[:-1] for key in table if key[-1] != EOS), ("never", "seen")]


@settings(max_examples=60, deadline=None)
@given(sentences, st.integers(1, 5))
def test_probabilities_sum_to_one_in_every_context(text, order):
    model = estimate(text, order)
    assert model.words == {word for sentence in text for word in sentence} | {EOS, UNK}
    for context in contexts(model):
        assert math.isclose(
            sum(10 ** model.log10_prob(word, context) for word in model.words), 1.0, abs_tol=1e-9
        )


@settings(max_examples=60, deadline=None)
@given(sentences, st.integers(1, 5))
def test_a_seen_ngram_is_likelier_than_its_back_off_and_an_unseen_one_is_the_back_off(text, order):
    model = estimate(text, order)
    for context in contexts(model)[1:-1]:
        for word in model.words:
            backed_off = model.tables[len(context) - 1][context][1] + model.log10_prob(word, context[1:])
            seen = (*context, word) in model.tables[len(context)]
            assert model.log10_prob(word, context) > backed_off - 1e-9
            assert seen or math.isclose(model.log10_prob(word, context), backed_off)


def test_a_bigram_model_by_hand():
    """Two sentences, "a b" and "a": too few counts of counts, so D = 0.5, 1, 1.5.

    Left neighbours: a 1 (<s>), b 1 (a), </s> 2 (a, b); total 4. Unigrams give away (0.5 + 0.5 + 1) / 4 = 1/2
    over a, b, </s> and <unk>. After a: b and </s> once each, away (0.5 + 0.5) / 2 = 1/2. After <s>: a twice,
    away 1 / 2.
    """
    model = estimate([["a", "b"], ["a"]], 2)
    unigram = {"a": 0.5 / 4 + 1 / 8, "b": 0.5 / 4 + 1 / 8, EOS: 1 / 4 + 1 / 8, UNK: 1 / 8}
    for word, expected in unigram.items():
        assert 10 ** model.log10_prob(word, ()) == pytest.approx(expected)
    assert 10 ** model.log10_prob("b", ["a"]) == pytest.approx(0.5 / 2 + unigram["b"] / 2)
    assert 10 ** model.log10_prob("a", ["a"]) == pytest.approx(unigram["a"] / 2)
    assert 10 ** model.log10_prob("a", [BOS]) == pytest.approx(1 / 2 + unigram["a"] / 2)
    assert 10 ** model.log10_prob(EOS, ["b"]) == pytest.approx(0.5 + unigram[EOS] / 2)
    by_hand = 0.625 * 0.375 * (0.5 + 0.1875)
    assert perplexity(model, [["a", "b"]]).value == pytest.approx(by_hand ** (-1 / 3))


def test_discounts_come_from_the_counts_of_counts():
    """Chen and Goodman's equation 26 with n1..n4 = 5, 3, 2, 1: Y = 5/11."""
    table = ngram.Counter(
        {(str(i),): count for i, count in enumerate([1] * 5 + [2] * 3 + [3] * 2 + [4] + [9])}
    )
    assert ngram._discounts(table) == pytest.approx(
        (1 - 2 * 5 / 11 * 3 / 5, 2 - 3 * 5 / 11 * 2 / 3, 3 - 4 * 5 / 11 / 2)
    )


def slow_model(text, order):
    """Interpolated modified Kneser-Ney a second time, recursive, from the definition."""
    padded = [(BOS, *sentence, EOS) for sentence in text]
    raw = defaultdict(int)
    for sentence in padded:
        for first in range(len(sentence)):
            for last in range(first + 1, len(sentence) + 1):
                raw[sentence[first:last]] += 1

    def adjusted(gram):
        if len(gram) == order or gram[0] == BOS:
            return raw[gram]
        return sum(1 for other in raw if len(other) == len(gram) + 1 and other[1:] == gram)

    grams = {g: adjusted(g) for g in list(raw) if len(g) <= order and g != (BOS,)}
    vocabulary = {g[0] for g in grams if len(g) == 1} | {UNK}

    def prob(word, context):
        table = ngram.Counter({g: c for g, c in grams.items() if len(g) == len(context) + 1})
        lower = prob(word, context[1:]) if context else 1 / len(vocabulary)
        here = {g[-1]: c for g, c in table.items() if g[:-1] == context}
        if not here:
            return lower
        d = (0, *ngram._discounts(table))
        away = sum(d[min(c, 3)] for c in here.values())
        count = here.get(word, 0)
        return (count - d[min(count, 3)] + away * lower) / sum(here.values())

    return prob


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=3, max_size=5), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_the_model_agrees_with_the_definition(text, order):
    model, slow = estimate(text, order), slow_model(text, order)
    for context in [(), ("a",), (BOS,), (BOS, "a"), ("a", "b"), ("c", "c")]:
        for word in model.words:
            context = context[-(order - 1) :] if order > 1 else ()
            assert 10 ** model.log10_prob(word, context) == pytest.approx(slow(word, context), abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_arpa_comes_back_and_is_the_same_bytes_every_time(tmp_path, order):
    model = estimate(TEXT, order)
    write_arpa(model, tmp_path / "lm.arpa")
    write_arpa(estimate(TEXT, order), tmp_path / "again.arpa")
    assert (tmp_path / "lm.arpa").read_bytes() == (tmp_path / "again.arpa").read_bytes()
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress((tmp_path / "lm.arpa").read_bytes()))
    for name in ("lm.arpa", "lm.arpa.gz"):
        back = read_arpa(tmp_path / name)
        assert [table.keys() for table in back.tables] == [table.keys() for table in model.tables]
        for context in contexts(model):
            for word in model.words:
                assert back.log10_prob(word, context) == pytest.approx(
                    model.log10_prob(word, context), abs=1e-5
                )


def test_a_text_helps_on_its_own_words_and_more_with_order():
    values = [perplexity(estimate(TEXT, order), TEXT).value for order in (1, 2, 3)]
    assert values == sorted(values, reverse=True) and values[0] < 10


def test_perplexity_counts_unknown_words_and_leaves_them_out():
    result = perplexity(estimate(TEXT, 2), [["the", "zebra", "ran"], []])
    assert (result.oov_rate, result.num_words, result.num_sentences) == (1 / 3, 3, 2)
    assert math.isfinite(result.value)


def test_one_sentence_of_one_word_is_enough_for_any_order():
    model = estimate([["yes"]], 5)
    assert model.order == 3
    assert model.log10_prob("yes", [BOS]) > model.log10_prob(UNK, [BOS])


@pytest.mark.parametrize("text", [[], [[]], [[], []]])
def test_an_empty_text_is_the_users_error(text):
    with pytest.raises(UserError, match="no words"):
        estimate(text, 3)


@pytest.mark.parametrize("word", ["<s>", "</s>", "<unk>", "a b", ""])
def test_words_that_an_arpa_file_cannot_hold_are_refused(word):
    with pytest.raises(UserError, match="ARPA"):
        estimate([["fine", word]], 2)


def test_perplexity_of_nothing_is_the_users_error():
    with pytest.raises(UserError):
        perplexity(estimate(TEXT, 2), [])


def test_every_cut_off_arpa_file_is_refused(tmp_path):
    write_arpa(estimate(TEXT, 2), tmp_path / "whole.arpa")
    lines = (tmp_path / "whole.arpa").read_text(encoding="utf-8").splitlines(keepends=True)
    for kept in range(len(lines)):
        (tmp_path / "cut.arpa").write_text("".join(lines[:kept]), encoding="utf-8")
        with pytest.raises(DataError, match="cut.arpa"):
            read_arpa(tmp_path / "cut.arpa")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"\xff\xfe",
        b"\\data\\\n\\end\\\n",
        b"\\data\\\nngram 1=2\n\n\\1-grams:\n-1 a\n\n\\end\\\n",
        b"\\data\\\nngram 1=1\n\n\\1-grams:\nx a\n\\end\\\n",
        b"\\data\\\nngram 2=1\n\n\\2-grams:\n-1 a b\n\n\\end\\\n",
    ],
)
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "lm.arpa").write_bytes(content)
    with pytest.raises(DataError, match="lm.arpa"):
        read_arpa(tmp_path / "lm.arpa")
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(content * 50)[:-9])
    with pytest.raises(DataError, match="lm.arpa.gz"):
        read_arpa(tmp_path / "lm.arpa.gz")


def test_a_missing_file_names_its_stage(tmp_path):
    with pytest.raises(DataError, match="ds2 lm"):
        read_arpa(tmp_path / "none.arpa")


@pytest.mark.parametrize("second", ["p_1 wd_1 bo_wt_1", "nothing of the kind", "\\end\\", ""])
def test_the_last_data_mark_before_the_ngrams_counts(tmp_path, second):
    write_arpa(estimate(TEXT, 2), tmp_path / "bare.arpa")
    bare = (tmp_path / "bare.arpa").read_text(encoding="utf-8")
    preamble = f"about it\n\\data\\\nngram 1=99\n\\1-grams:\n{second}\n"
    (tmp_path / "lm.arpa").write_text(preamble + bare + "\nand an end\n", encoding="utf-8")
    assert read_arpa(tmp_path / "lm.arpa") == read_arpa(tmp_path / "bare.arpa")
    (tmp_path / "lm.arpa").write_text(preamble + bare.replace("-grams", " grams"), encoding="utf-8")
    with pytest.raises(DataError, match="not an ARPA file"):
        read_arpa(tmp_path / "lm.arpa")


def test_a_damaged_line_is_named_as_it_is_counted_in_the_file(tmp_path):
    write_arpa(estimate(TEXT, 2), tmp_path / "lm.arpa")
    lines = ["a preamble", "", *(tmp_path / "lm.arpa").read_text(encoding="utf-8").splitlines()]
    place = lines.index("\\2-grams:") + 2
    lines[place] = "-0.3 lost"
    (tmp_path / "lm.arpa").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=f"lm.arpa:{place + 1}: .*'-0.3 lost'"):
        read_arpa(tmp_path / "lm.arpa")


@settings(max_examples=60, deadline=None)
@given(sentences, st.integers(2, 4), st.lists(st.integers(0, 3), min_size=1, max_size=4).map(sorted))
def test_a_pruned_model_is_still_a_distribution_and_keeps_what_is_frequent(text, order, prune):
    whole, model = estimate(text, order), estimate(text, order, prune)
    for context in contexts(model):
        assert sum(10 ** model.log10_prob(word, context) for word in model.words) == pytest.approx(1)
    for n, (kept, table) in enumerate(zip(model.tables, whole.tables, strict=True), 1):
        most = prune[min(n, len(prune)) - 1]
        assert set(kept) == {one for one in table if n == 1 or plain_count(text, one) > most}
        assert all(one[:-1] in model.tables[n - 2] and one[1:] in model.tables[n - 2] for one in kept if n > 1)


def plain_count(text, ngram):
    padded = [(BOS, *sentence, EOS) for sentence in text if sentence]
    return sum(words[i : i + len(ngram)] == ngram for words in padded for i in range(len(words)))


def test_pruning_nothing_changes_nothing():
    assert estimate(TEXT, 3, (0, 0)) == estimate(TEXT, 3)


def test_thresholds_that_fall_are_refused():
    with pytest.raises(ValueError, match="do not fall"):
        estimate(TEXT, 3, (0, 2, 1))


@pytest.mark.parametrize("order, prune", [(2, ()), (3, ()), (3, (0, 1)), (4, (0, 0, 1))])
def test_kenlm_reads_the_same_perplexity(tmp_path, order, prune):
    kenlm = pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    dictionary = pytest.importorskip("flashlight.lib.text.dictionary").Dictionary()
    text = [[*map(str, divmod(n * n, 11))] * (1 + n % 3) for n in range(60)]
    model = estimate(text, order, prune)
    write_arpa(model, tmp_path / "G.arpa")
    words = sorted(model.words - {EOS, UNK})
    for word in words:
        dictionary.add_entry(word)
    reader = kenlm.KenLM(str(tmp_path / "G.arpa"), dictionary)
    test = [words[n : n + 5] for n in range(0, len(words), 2)]
    total = 0.0
    for sentence in test:
        state = reader.start(False)
        for word in sentence:
            state, score = reader.score(state, dictionary.get_index(word))
            total += score
        total += reader.finish(state)[1]
    theirs = 10 ** (-total / sum(len(sentence) + 1 for sentence in test))
    assert perplexity(model, test).value == pytest.approx(theirs, rel=1e-4)
