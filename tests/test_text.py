"""Text rules: what they promise, over any text there is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.errors import ConfigError
from ds2toolkit.text.normalise import english, mandarin, normalise, unknown
from ds2toolkit.text.vocabulary import Vocabulary


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
        ("ALSO A POPULAR CONTRIVANCE", "also a popular contrivance"),
        ("I. B. M. introduced last week", "i b m introduced last week"),
        ("of course there isn't any", "of course there isn't any"),
        ("Corp; MR. INCORPORATED-DASH", "corp mr incorporated dash"),
        (",COMMA .PERIOD \"DOUBLE-QUOTE ?QUESTION-MARK", "comma period double quote question mark"),
        ("It seemed the ordained order\u2026", "it seemed the ordained order"),
    ],
)
def test_english_spelling(raw, spelled):
    assert english(raw) == spelled


@pytest.mark.parametrize(
    ("raw", "outside"),
    [
        ("42 & 5%", set("425&%")),
        ("ни хао 你", set("нихао你")),
        ("$9", set("$9")),
        ("%PERCENT", set("%")),
        ("latin-1 bytes read as UTF-8: caf\ufffd", {"1", "8", "\ufffd"}),
    ],
)
def test_what_must_be_read_aloud_stays_to_be_found(raw, outside):
    assert unknown("english", english(raw)) == outside


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
    assert not unknown("english", english(text))


def test_unknown_language_names_those_there_are():
    with pytest.raises(ConfigError, match="'klingon'.*english"):
        normalise("klingon", "qapla")
    assert normalise("english", "A") == "a"


@pytest.mark.parametrize(
    ("raw", "spelled"),
    [
        ("而 对 楼市 成交 抑制 作用 最 大 的 限 购", "而对楼市成交抑制作用最大的限购"),
        ("甲醇 汽油 ｋｔｖ ＡＢＣ", "甲醇汽油ktvabc"),
        ("“你好！”，他说：《红楼梦》、Hello… ——", "你好他说红楼梦hello"),
        ("欧元·里拉\u3000二〇一五\n㐀\U00020000\ufeff", "欧元里拉二〇一五㐀\U00020000"),
        ("葛\U000e0100 \uf9ff", "葛刺"),
        ("", ""),
        ("，。", ""),
    ],
)
def test_mandarin_spelling(raw, spelled):
    assert mandarin(raw) == spelled
    assert not unknown("mandarin", spelled)


@pytest.mark.parametrize(
    ("raw", "kept", "outside"),
    [
        ("一审 判处 l = 六年", "一审判处l=六年", set("=")),  # THCHS-30, B11_374
        ("１２ 个 ％", "12个%", set("12%")),
        ("ア 중 d'être é", "ア중dêtreé", set("ア중êé")),
        ("坏\ufffd", "坏\ufffd", {"\ufffd"}),
    ],
)
def test_what_mandarin_cannot_spell_stays_to_be_found(raw, kept, outside):
    assert mandarin(raw) == kept
    assert unknown("mandarin", kept) == outside


@given(st.text())
def test_mandarin_is_settled_after_once_and_has_no_spaces(text):
    once = mandarin(text)
    assert mandarin(once) == once
    assert once == "".join(once.split())


@given(st.text(alphabet=st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)))
def test_mandarin_keeps_every_ideograph_in_order(text):
    assert mandarin(" ".join(text)) == text


def test_an_unknown_language_has_no_alphabet():
    with pytest.raises(ConfigError, match="'klingon'"):
        unknown("klingon", "qapla")


def test_the_english_alphabet_is_the_vocabularys():
    text = "".join(map(chr, range(32, 300)))
    assert unknown("english", text) == Vocabulary.english_characters().unknown(text)
