"""The .dot transcripts: every mark of the specification, the real lines, and nothing but words left."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.text.dot import dot_words, parse_dot
from ds2toolkit.text.normalise import normalise

IBM = (
    r"[loud_breath] And new hardware such as the set of personal computers I\. B\. M\. introduced last week "
    r"can lead to unexpected changes in the software business [door_slam] (4k2c030a)"
)
GUARANTEE = r"Of course there isn\'t any guarantee the company will keep its hot hand [misc_noise] (4k2c0308)"
NOISES = """
loud_breath lip_smack tongue_click door_slam misc_noise exhalation inhalation microphone_mvt chair_squeak tap
thump door_open beep sigh cross_talk throat_clear unintelligible disk_noise phone_ring paper_rustle movement
typing sniff laughter bad_recording uh um mm ah eh loud_beath loud-breath lip-smack unitelligible
""".split()
VERBALISED = r"""
\,COMMA \.PERIOD \.POINT \%PERCENT \-HYPHEN \-\-DASH \"DOUBLE\-QUOTE \"QUOTE \"UNQUOTE \"END\-QUOTE
\"OPEN\-QUOTES \"CLOSE\-QUOTE \"CLOSE\-QUOTES \?QUESTION\-MARK \!EXCLAMATION\-POINT \:COLON \;SEMI\-COLON
\(LEFT\-PAREN \)RIGHT\-PAREN \(OPEN\-PAREN \)CLOSE\-PAREN \(PARENTHESES \)CLOSE\-PARENTHESES \{LEFT\-BRACE
\}RIGHT\-BRACE \'SINGLE\-QUOTE \&AMPERSAND \/SLASH \$DOLLAR\-SIGN \~NEW\-GRAPH \.\.\.ELLIPSIS \.DOT
\(IN\-PARENTHESES \)UN\-PARENTHESES \)END\-OF\-PAREN \"END\-OF\-QUOTE \"IN\-QUOTES \(PARENTHETICALLY
\(BEGIN\-PARENS \)END\-PARENS .PERCENT )CLOSE_PAREN (IN-PARENTHESIS \'CLOSE\-SINGLE\-QUOTE
""".split()


def spelled(raw: str) -> str:
    return normalise("english", dot_words(raw))


@pytest.mark.parametrize(
    ("line", "utterance_id", "words"),
    [
        (
            IBM,
            "4k2c030a",
            "and new hardware such as the set of personal computers i b m introduced last week "
            "can lead to unexpected changes in the software business",
        ),
        (
            GUARANTEE,
            "4k2c0308",
            "of course there isn't any guarantee the company will keep its hot hand",
        ),
        ("~~ (47hc0418)", "47hc0418", ""),
        ("(46uc030b)", "46uc030b", ""),
        ("The lamp (F01_050C0103_BUS)\n", "F01_050C0103_BUS", "the lamp"),
        (r"THE LEAD \(LEFT\-PAREN \)RIGHT\-PAREN (01ic0201) ", "01ic0201", "the lead left paren right paren"),
        ("FORECAS(TS)- THE FORECASTS (01ic0202)", "01ic0202", "forecas the forecasts"),
    ],
)
def test_lines(line, utterance_id, words):
    raw, found_id = parse_dot(line)
    assert found_id == utterance_id and spelled(raw) == words


@pytest.mark.parametrize("line", ["", "no id", "in the middle (4k2c0308) of it", "two words (4k2c 308)"])
def test_other_lines_are_no_transcripts(line):
    assert parse_dot(line) is None


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("one [<tap] two [thump>] three", "one two three"),
        ("one [phone_ring/] two three [/phone_ring] four", "one two three four"),
        ("one[door_slam] two [beep]three", "one two three"),
        ("one two ~", "one two"),
        ("one . two . . three", "one two three"),
        ("one <two> three <MR.>", "one two three mr"),
        ("<one two> three", "one two three"),
        ("one *two* three", "one two three"),
        (r"ISN(\'T)- IT -(PER)IOD", "isn it iod"),
        ("M:ONEY !TALKS", "money talks"),
        ("isn`t it", "isn't it"),
        (r"I\. B\. M\.\'s stock", "i b m's stock"),
        (r"the U\.S\. and U\. S\. C\. D\.s", "the u s and u s c ds"),
        (r"Dr\. Brown and Corp;", "dr brown and corp"),
        ("INCORPORATED-DASH one", "incorporated dash one"),
        (r"well\-known", "well known"),
        (r"\'til \'twas", "'til 'twas"),
        (r"the \"DOUBLE\-QUOTE word \"DOUBLE\-QUOTE", "the double quote word double quote"),
        (r"fifty\%PERCENT", "fifty percent"),
        ("[unintelligible", ""),
        ("~", ""),
        (". [tap] ~~ '", ""),
    ],
)
def test_marks(raw, words):
    assert spelled(raw) == words


@pytest.mark.parametrize("noise", NOISES)
def test_noises_are_no_words(noise):
    forms = f"one [{noise}] [<{noise}] two [{noise}>] [{noise}/] three [/{noise}]"
    assert spelled(forms) == "one two three"


@pytest.mark.parametrize("token", VERBALISED)
def test_punctuation_read_aloud_is_words(token):
    name = " ".join(re.findall("[A-Z]+", token)).lower()
    assert spelled(f"one {token} two") == f"one {name} two"
    assert spelled(f"one {token.replace(chr(92), '')} two") == f"one {name} two"


@given(st.text(alphabet=r"aBz'`.,-()[]<>*!:;~\/%&$#@{}?^=+|_ " + '"', max_size=40))
def test_nothing_but_words_is_left(raw):
    assert re.fullmatch(r"([a-z']+( [a-z']+)*)?", spelled(raw))


WORDS = st.from_regex(r"[A-Z]{2,8}(\\'[A-Z])?", fullmatch=True)
HEARD = st.sampled_from(["", "[tap]", "[<tap]", "[tap/]", ".", "~"])


@given(st.lists(st.tuples(WORDS, HEARD)))
def test_words_survive_whatever_is_heard_beside_them(pairs):
    raw = " ".join(f"{word} {heard}" for word, heard in pairs)
    assert spelled(raw).split() == [word.replace("\\", "").lower() for word, _ in pairs]
