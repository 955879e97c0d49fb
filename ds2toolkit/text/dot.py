r"""The `.dot` transcripts of WSJ and CHiME: what was said, cleared of the marks on how it was said.

The marks are those of LDC93S6A's dot_spec.doc: `\` escapes a character, `[…]` is a noise.
"""

import re

LINE = re.compile(r"(?P<raw>.*)\((?P<id>\w+)\)\s*")
QUOTE_BY_NAME = re.compile(r"(?<!\S)\\?'(?=[a-z\\_-]*(?:quote|apostrophe))", re.IGNORECASE)
RULES = (
    (re.compile("`"), "'"),
    (re.compile(r"(?<!\\)\[[^\s\]]*\]?"), " "),  # [tap]; [<tap] and [tap>] beside a word; [tap/] … [/tap]
    (QUOTE_BY_NAME, " "),  # \'SINGLE\-QUOTE, but not \'TIL
    (re.compile(r"\\[^\w\s.']"), " "),  # \,COMMA and well\-known
    (re.compile(r"\\"), ""),
    (re.compile(r"\([^()\s]*\)"), ""),  # FORECAS(TS)-: the rest of the word was not spoken
    (re.compile(r"[<>*!:]"), ""),  # <deleted>, *mispronounced*, !stressed, len:gthened
    (re.compile(r"\.(?=[^\W_]\.)"), ". "),  # U.S. as it is spelled elsewhere: U. S.
    (re.compile(r"[^\w\s.']|_"), " "),
)


def parse_dot(line: str) -> tuple[str, str] | None:
    """The raw text of a line `text (id)` and the id, in the case it has; None for any other line."""
    match = LINE.fullmatch(line)
    return (match["raw"].strip(), match["id"]) if match else None


def dot_words(raw: str) -> str:
    r"""The words of a raw text, for `normalise("english", …)` to spell; "" for a null waveform (`~~`).

    All that was spoken stays: verbally deleted and mispronounced words, the spoken part of a fragment
    (FORECAS(TS)- is FORECAS), punctuation that was read aloud (`\"DOUBLE\-QUOTE` is DOUBLE QUOTE). Noises go.
    """
    for pattern, replacement in RULES:
        raw = pattern.sub(replacement, raw)
    return " ".join(word for word in raw.split() if word.strip(".'"))
