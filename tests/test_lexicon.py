"""The lexicon: spelling, what cannot be spelled, the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.errors import DataError
from ds2toolkit.text.lexicon import Lexicon

TOKENS = ("<blk>", " ", "'", *"abcdefghijklmnopqrstuvwxyz")


def test_words_are_spelled_with_characters_and_sorted():
    lexicon, left_out = Lexicon.from_words(["the", "cat's", "the"], TOKENS)
    assert lexicon.spellings == {"cat's": (("c", "a", "t", "'", "s"),), "the": (("t", "h", "e"),)}
    assert lexicon.words == ("cat's", "the") and left_out == ()


def test_words_that_cannot_be_spelled_are_returned():
    lexicon, left_out = Lexicon.from_words(["naïve", "a b", "", "B", "b", "<blk>"], TOKENS)
    assert lexicon.words == ("b",)
    assert left_out == ("", "<blk>", "B", "a b", "naïve")


@given(st.sets(st.text("abc'", min_size=1, max_size=6), min_size=1))
def test_the_file_comes_back(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.txt"
    lexicon, _ = Lexicon.from_words(words, TOKENS)
    lexicon.write(path)
    assert Lexicon.read(path) == lexicon
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(words)


def test_a_word_may_have_several_spellings(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("b x\na y z\n\na y\na y z\n", encoding="utf-8")
    assert Lexicon.read(path).spellings == {"a": (("y", "z"), ("y",)), "b": (("x",),)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a x\nb\n", "lexicon.txt:2: the word 'b' has no spelling"),
        (b"\n", "no words"),
        (b"a \xff", "UTF-8"),
        (None, "not exist"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, said):
    path = tmp_path / "lexicon.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        Lexicon.read(path)
