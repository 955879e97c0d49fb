"""Text files of the made-up WSJ: marked transcripts, indices in every spelling, language models."""

from collections.abc import Iterable
from pathlib import Path

from ds2toolkit.text import ngram
from ds2toolkit.text.dot import dot_words
from ds2toolkit.text.normalise import normalise
from ds2toolkit.toy.lzw import compress

MARKS = (
    "[loud_breath] {a} {b} {rest} [door_slam]",
    "{a} [<tap] {b} [thump>] {rest}",
    "{a} [paper_rustle/] {b} {rest} [/paper_rustle] [loud-breath]",
    "{a} {b} . {rest} ~",
    "{a} <{b}> {b} {rest}",
    "{a} *{b}* {rest}",
    "!{a} {b} {rest}",
    "{a} {head}:{tail} {rest}",
    "{a} {head}({tail})- {b} {rest}",
    "{a} -({head}){tail} {b} {rest}",
    "{a} {b} {rest} that isn`t found",
    r"I\. B\. M\. {a} {b} {rest}",
    r"{a} {b} \,COMMA {rest} \.PERIOD",
    r"\"DOUBLE\-QUOTE {a} {b} {rest} \"DOUBLE\-QUOTE",
    r"{a} {b} \(LEFT\-PAREN {rest} \)RIGHT\-PAREN",
    r"{a} \'SINGLE\-QUOTE {b} \'SINGLE\-QUOTE {rest} \?QUESTION\-MARK",
    r"{a} {b} \-\-DASH {rest} \%PERCENT",
    r"{a} {b} (IN-PARENTHESIS {rest} )CLOSE_PAREN",
    r"{a} {b}\-HYPHEN {rest} \&AMPERSAND",
)
NUM_MARKED_FIRST, MARKED_EVERY = 4, 6
TRAIN_HEAD = """\
;; File: tr_s_wv1.ndx, updated 04/26/94
;;
;; Index for WSJ0 SI-short Sennheiser training data
;; Data is read WSJ sentences, Sennheiser mic.
;; Contains 84 speakers X (~100 utts per speaker MIT/SRI and ~50 utts 
;; per speaker TI) = 7236 utts
;;
"""
SPEAKERS_HEAD = """\
; SPEAKER INFORMATION
;
Speaker Sex Dialect
------- --- -------
"""
PREAMBLE = """\
A made-up language model in the form of WSJ's.
All probabilities and back-off weights are given in log10 form.

"""
EARLIER_DATA = """\
Data formats:

\\data\\
ngram 1=nr            # number of 1-grams
ngram 2=nr            # number of 2-grams

\\1-grams:
p_1     wd_1 bo_wt_1
\\2-grams:
p_2     wd_1 wd_2 bo_wt_2

end of data mark: \\end\\

"""


def plain(text: str) -> str:
    return (text[0].upper() + text[1:]).replace("'", r"\'")


def marked(raw: str, number: int) -> str:
    """A sentence of a .dot file with one of MARKS, each in its turn."""
    a, b, *rest = raw.split()
    parts = {"a": a, "b": b, "rest": " ".join(rest), "head": b[:2], "tail": b[2:]}
    return MARKS[number % len(MARKS)].format(**parts)


def spoken(raw: str) -> str:
    return normalise("english", dot_words(raw))


def dot_lines(texts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{raw} ({name})\n" for name, raw in texts)


def lsn_lines(texts: Iterable[tuple[str, str]], swapped: bool) -> str:
    """Upper-case words and ids; swapped: with the fifth and sixth letter of the id swapped, as in eval92."""
    named = ((name[:4] + name[5] + name[4] + name[6:] if swapped else name, raw) for name, raw in texts)
    return "".join(f"{spoken(raw).upper()} ({name.upper()})\n" for name, raw in named)


def index_line(split: str, audio: str) -> str:
    """A line of the .ndx file of a split, as spelled there, for an audio file such as 13-1.1/wsj1/…."""
    disc, _, path = audio.partition("/")
    disc = disc.replace("-", "_").replace(".", "_")
    if split == "train_si284":
        return f"{disc}: /{path}\n"
    if split.startswith("eval92"):
        return f"{disc}:{path.removesuffix('.wv1')}\n"
    if split.startswith("eval93"):
        return f"13_32_1:{path}\n"
    return f"{disc}:{path}\n"


def write_language_models(folder: Path, texts: Iterable[str]) -> None:
    """base_lm/ and vocab/ of `folder`: LZW with and without a preamble, one plain file that is called .z too.

    Words are in upper case, and the letters of an abbreviation have their dots, as in the real ones.
    """
    sentences = [text.upper().replace("I B M ", "I. B. M. ").split() for text in texts]
    for inner in ("base_lm", "vocab"):
        (folder / inner).mkdir(parents=True)
    bigrams, trigrams = (arpa(sentences, order, folder) for order in (2, 3))
    words = sorted({word for sentence in sentences for word in sentence})
    word_list = "# A made-up list of words\n#\n" + "".join(f"{word}\n" for word in words)
    frequencies = "# A made-up list of words\n" + "".join(f"{len(word)} {word}\n" for word in words)
    for name, data in {
        "base_lm/bcb20onp.z": compress(bigrams),
        "base_lm/tcb20onp.z": PREAMBLE.encode() + trigrams,
        "base_lm/bcb05onp.z": compress(bigrams),
        "base_lm/tcb05cnp.z": compress((PREAMBLE + EARLIER_DATA).encode() + trigrams),
        "vocab/wlist20o.nvp": word_list.encode(),
        "vocab/wlist5c.nvp": word_list.encode(),
        "vocab/wfl_64.lst": frequencies.encode(),
    }.items():
        (folder / name).write_bytes(data)


def arpa(sentences: list[list[str]], order: int, scratch: Path) -> bytes:
    path = scratch / "estimated.arpa"
    ngram.write_arpa(ngram.estimate(sentences, order), path)
    data = path.read_bytes()
    path.unlink()
    return data
