"""Vocabularies of characters and of word pieces: numbers there and back, files, checkpoints."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig, TrainConfig, from_dict
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text import pieces
from ds2toolkit.text.vocabulary import BLANK, UnknownCharacter, Vocabulary

VOCABULARY = Vocabulary.english_characters()
LINES = ["the cat sat on the mat", "a dog ran", "the dog's mat", "seven cats ran on the hill"]
PIECES = Vocabulary.of_pieces(pieces.train(LINES, "bpe", 40))


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
        ("<blk> 0\nabc 1\n", "'abc' is not one character"),
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


def test_damaged_checkpoint_values_are_told():
    with pytest.raises(DataError, match="best.pt"):
        Vocabulary.from_dict({"tokens": ["a"]}, "best.pt")
    with pytest.raises(DataError, match="best.pt.*sentencepiece model is damaged"):
        Vocabulary.from_dict(PIECES.to_dict() | {"pieces": "AAAA"}, "best.pt")
    with pytest.raises(DataError, match="best.pt.*sentencepiece model is damaged"):
        Vocabulary.from_dict(PIECES.to_dict() | {"pieces": "?"}, "best.pt")
    with pytest.raises(DataError, match="best.pt.*not those of the sentencepiece model"):
        Vocabulary.from_dict(PIECES.to_dict() | {"tokens": list(VOCABULARY.tokens)}, "best.pt")


def test_characters_of_a_text_stand_by_count_then_code_point():
    vocabulary = Vocabulary.characters_of(["中国人", "人中a", "b人"])
    assert vocabulary.tokens == (BLANK, "人", "中", "a", "b", "国")
    assert vocabulary.decode(vocabulary.encode("国人ab")) == "国人ab"


@pytest.mark.parametrize(
    ("vocabulary", "text", "kept"),
    [
        (Vocabulary.characters_of(["中国人"]), "中华人a民", "中人"),
        (VOCABULARY, "route 66 west", "route west"),
        (PIECES, "the öcat 66 sät", "the cat st"),
        (PIECES, "▁cat", "cat"),
        (PIECES, "66", ""),
    ],
)
def test_unknown_characters_can_be_left_out(vocabulary, text, kept):
    assert vocabulary.encode_known(text) == vocabulary.encode(kept)
    assert vocabulary.decode(vocabulary.encode_known(text)) == kept


words = st.text(alphabet=sorted(set("".join(LINES)) - {" "}), min_size=1, max_size=8)


@given(st.lists(words))
def test_word_pieces_come_back_and_follow_one_another_word_by_word(sentence):
    text = " ".join(sentence)
    ids = PIECES.encode(text)
    assert PIECES.decode(ids) == text and 0 not in ids
    assert ids == [number for word in sentence for number in PIECES.encode(word)]


def test_characters_outside_the_pieces_are_named():
    assert PIECES.unknown("the zoo▁") == {"z", "▁"}
    with pytest.raises(UnknownCharacter, match="'z'"):
        PIECES.encode("the zoo")


@pytest.mark.parametrize("vocabulary", [VOCABULARY, PIECES, Vocabulary.characters_of(["中国人"])])
def test_every_kind_comes_back_from_disk_from_plain_values_and_in_another_process(tmp_path, vocabulary):
    vocabulary.write(tmp_path / "tokens.txt")
    for back in (
        Vocabulary.read(tmp_path / "tokens.txt"),
        Vocabulary.from_dict(vocabulary.to_dict(), "best.pt"),
        pickle.loads(pickle.dumps(vocabulary)),
    ):
        assert back == vocabulary
        text = vocabulary.decode(range(1, len(vocabulary)))
        assert back.encode(text) == vocabulary.encode(text)


def test_another_kind_leaves_no_model_behind(tmp_path):
    PIECES.write(tmp_path / "tokens.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"tokens.txt", "spm.model"}
    VOCABULARY.write(tmp_path / "tokens.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.txt"]


def test_tokens_that_do_not_fit_their_model_are_told(tmp_path):
    path = tmp_path / "tokens.txt"
    Vocabulary.of_pieces(pieces.train(LINES, "bpe", 39)).write(path)
    PIECES.write(tmp_path / "other" / "tokens.txt")
    model, other = tmp_path / "spm.model", tmp_path / "other" / "spm.model"
    whole = model.read_bytes()
    for wrong, said in ((other.read_bytes(), "not those of"), (whole[:-9], "damaged|not those of"), (b"", "damaged")):
        model.write_bytes(wrong)
        with pytest.raises(DataError, match=f"tokens.txt: .*({said})"):
            Vocabulary.read(path)
    model.unlink()
    with pytest.raises(DataError, match="is not one character.*ds2 lang"):
        Vocabulary.read(path)


@pytest.fixture
def recogniser():
    network = {"conv": {"channels": [2], "kernels": [[5, 3]], "strides": [[8, 2]]}, "num_rnn_layers": 1, "rnn_size": 4}
    training = from_dict(TrainConfig, {"model": network}, "test")
    return Recogniser.new(training, PIECES, FeatureConfig(), None, "english", "word")


def test_a_checkpoint_carries_word_pieces(tmp_path, recogniser):
    checkpoint.save(tmp_path / "best.pt", recogniser, {})
    back, _ = checkpoint.load(tmp_path / "best.pt")
    assert back.vocabulary == PIECES and back.vocabulary.encode("the cat") == PIECES.encode("the cat")
    assert back.same_setting(recogniser)
    assert not back.same_setting(Recogniser.new(back.training, VOCABULARY, back.features, None, "english", "word"))


def test_a_checkpoint_from_before_word_pieces_is_read(tmp_path, recogniser):
    old = Recogniser.new(recogniser.training, VOCABULARY, recogniser.features, None, "english", "word")
    raw = {name: value for name, value in old.to_dict().items() if name != "pieces"}
    torch.save({"format": checkpoint.FORMAT, "recogniser": raw, "state": {}}, tmp_path / "old.pt")
    assert checkpoint.load(tmp_path / "old.pt")[0].vocabulary == VOCABULARY


BIGRAMS = Vocabulary.english_bigrams(["the cat sat on the mat", "it's a cat"])


def test_bigrams_cut_words_from_their_beginning_and_never_cross_a_space():
    spelled = [BIGRAMS.tokens[number] for number in BIGRAMS.encode("the cat sat")]
    assert spelled == ["th", "e", " ", "ca", "t", " ", "sa", "t"]


def test_bigrams_are_the_characters_and_the_pairs_of_the_text():
    assert BIGRAMS.tokens[:29] == VOCABULARY.tokens
    assert BIGRAMS.tokens[29] == "ca" and set(BIGRAMS.tokens[30:]) == {"th", "sa", "on", "ma", "it", "'s"}


def test_a_pair_that_no_text_had_is_spelled_as_characters():
    assert [BIGRAMS.tokens[number] for number in BIGRAMS.encode("zebra")] == list("zebra")


@given(st.text(alphabet="abcdehimnost' "))
def test_bigrams_come_back(text):
    assert BIGRAMS.decode(BIGRAMS.encode(text)) == text
    assert Vocabulary.from_dict(BIGRAMS.to_dict(), "here") == BIGRAMS


def test_bigrams_come_back_from_disk(tmp_path):
    BIGRAMS.write(tmp_path / "tokens.txt")
    assert Vocabulary.read(tmp_path / "tokens.txt") == BIGRAMS
