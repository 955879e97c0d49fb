"""The lexicon: spelling, what cannot be spelled, the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.errors import DataError
from ds2toolkit.text import pieces
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.english_characters()


def test_words_are_spelled_with_characters_and_sorted():
    lexicon, left_out = Lexicon.from_words(["the", "cat's", "the"], VOCABULARY, "english")
    assert lexicon.spellings == {"cat's": (("c", "a", "t", "'", "s"),), "the": (("t", "h", "e"),)}
    assert lexicon.words == ("cat's", "the") and left_out == ()


def test_words_that_cannot_be_spelled_are_returned():
    lexicon, left_out = Lexicon.from_words(["66", "x-ray", "a b", "", "-", "b", "<blk>", "中"], VOCABULARY, "english")
    assert lexicon.words == ("b",)
    assert left_out == ("", "-", "66", "<blk>", "a b", "x-ray", "中")


def test_a_language_models_own_way_of_writing_is_spelled_as_it_is_spoken():
    lexicon, left_out = Lexicon.from_words([".period", ",comma", "mr.", "u.s.", "a.", "a", "naïve"], VOCABULARY, "english")
    spelled = {word: "".join(spelling) for word, (spelling,) in lexicon.spellings.items()}
    assert spelled == {
        ",comma": "comma", ".period": "period", "a": "a", "a.": "a", "mr.": "mr", "naïve": "naive", "u.s.": "us",
    }  # fmt: skip
    assert not left_out


def test_mandarin_words_are_spelled_by_character():
    lexicon, left_out = Lexicon.from_words(["中国", "Ｋ", "人"], Vocabulary.characters_of(["中国k"]), "mandarin")
    assert lexicon.spellings == {"中国": (("中", "国"),), "Ｋ": (("k",),)} and left_out == ("人",)


def test_word_pieces_spell_each_word_as_the_text():
    vocabulary = Vocabulary.of_pieces(pieces.train(["the cat", "the hat", "that"], "bpe", 14))
    lexicon, left_out = Lexicon.from_words({"the", "cat", "that", "dog"}, vocabulary, "english")
    for word, (spelling,) in lexicon.spellings.items():
        assert [vocabulary.tokens[number] for number in vocabulary.encode(word)] == list(spelling)
        assert spelling[0].startswith("▁")
    assert lexicon.words == ("cat", "that", "the") and left_out == ("dog",)


@given(st.sets(st.text("abc", min_size=1, max_size=6), min_size=1))
def test_the_file_comes_back(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.txt"
    lexicon, _ = Lexicon.from_words(words, VOCABULARY, "english")
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
