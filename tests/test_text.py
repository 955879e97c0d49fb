"""Text rules and vocabularies: what they promise, over any text there is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.errors import ConfigError, DataError, UserError
from ds2toolkit.text.normalise import english, normalise
from ds2toolkit.text.vocabulary import BLANK, UnknownCharacter, Vocabulary

VOCABULARY = Vocabulary.english_characters()


@pytest.mark.parametrize(
    ("raw", "spelled"),
    [
        ("The cat’s mat", "the cat's mat"),
        ("ROCK 'N' ROLL, 'TIS THE BOYS' TUNE", "rock n roll 'tis the boys' tune"),
        ("Café  naïve\tÅngström\n", "cafe naive angstrom"),
        ("well-known: twenty–one/two…three", "well known twenty one two three"),
        ("The U.S.A., Mr. Smith.Next", "the usa mr smith next"),
        ("“Hello,” she said: ‘yes’ ' -- ", "hello she said yes"),
        ("ﬁne Straße ŉ zero\u200bwidth soft\u00adhyphen", "fine strasse 'n zerowidth softhyphen"),
        ("", ""),
        ("...?!", ""),
    ],
)
def test_english_spelling(raw, spelled):
    assert english(raw) == spelled


@pytest.mark.parametrize(
    ("raw", "outside"), [("42 & 5%", set("425&%")), ("ни хао 你", set("нихао你")), ("$9", set("$9"))]
)
def test_what_must_be_read_aloud_stays_to_be_found(raw, outside):
    assert VOCABULARY.unknown(english(raw)) == outside


@given(st.text())
def test_english_is_settled_after_once(text):
    once = english(text)
    assert english(once) == once
    assert once == " ".join(once.split())


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_english_keeps_the_letters_of_plain_text_in_order(text):
    assert re.sub("[^a-z]", "", english(text)) == re.sub("[^a-z]", "", text.lower())


@given(st.text(alphabet="abz' ."))
def test_english_text_can_always_be_encoded(text):
    assert not VOCABULARY.unknown(english(text))


def test_unknown_language_names_those_there_are():
    with pytest.raises(ConfigError, match="'klingon'.*english"):
        normalise("klingon", "qapla")
    assert normalise("english", "A") == "a"


def test_english_vocabulary_is_the_papers():
    assert len(VOCABULARY) == 29
    assert VOCABULARY.tokens[0] == BLANK


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz' "))
def test_encoding_comes_back(text):
    ids = VOCABULARY.encode(text)
    assert VOCABULARY.decode(ids) == text
    assert 0 not in ids


def test_unknown_characters_are_named():
    with pytest.raises(UnknownCharacter, match=r"'2' 'é'") as caught:
        VOCABULARY.encode("caf\u00e9 2")
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("ids", [[0], [1, 29], [-1]])
def test_decode_refuses_the_blank_and_numbers_out_of_range(ids):
    with pytest.raises(ValueError, match=str(ids[-1])):
        VOCABULARY.decode(ids)


@settings(max_examples=30)
@given(st.sets(st.characters(exclude_categories=("Cs",)).filter(lambda c: c == " " or not c.isspace())))
def test_vocabulary_comes_back_from_disk(tmp_path_factory, characters):
    vocabulary = Vocabulary((BLANK, *sorted(characters)))
    path = tmp_path_factory.mktemp("lang") / "tokens.txt"
    vocabulary.write(path)
    assert Vocabulary.read(path) == vocabulary


def test_tokens_file_is_readable_by_people(tmp_path):
    VOCABULARY.write(tmp_path / "tokens.txt")
    lines = (tmp_path / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:4] == ["<blk> 0", "<space> 1", "' 2", "a 3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<blk> 0\na 2\n", r"tokens.txt:2: .*'a 2'"),
        ("<blk> 0\na\n", "tokens.txt:2"),
        ("<blk> 0\nab 1\n", "'ab' is not one character"),
        ("<blk> 0\na 1\na 2\n", "twice"),
        ("<blk> 0\n\u2003 1\n", "space of another kind"),
        ("a 0\n", "token 0 must be <blk>"),
        ("", "token 0 must be <blk>"),
    ],
)
def test_damaged_tokens_file(tmp_path, content, message):
    (tmp_path / "tokens.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        Vocabulary.read(tmp_path / "tokens.txt")


def test_missing_or_binary_tokens_file(tmp_path):
    with pytest.raises(DataError, match="ds2 lang"):
        Vocabulary.read(tmp_path / "tokens.txt")
    (tmp_path / "tokens.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        Vocabulary.read(tmp_path / "tokens.txt")


def test_checkpoint_list_comes_back_and_damage_is_told():
    assert Vocabulary.from_list(VOCABULARY.to_list(), "best.pt") == VOCABULARY
    with pytest.raises(DataError, match="best.pt"):
        Vocabulary.from_list(["a"], "best.pt")
