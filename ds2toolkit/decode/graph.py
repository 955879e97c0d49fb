"""The decoding graph H∘L∘G: compiled from tokens, lexicon and ARPA, stored whole, loaded and checked."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ds2toolkit.decode.graph_size import check_size
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import whole_folder, write_json, write_text
from ds2toolkit.text.arpa import BOS, EOS, UNK, arpa_entries
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.vocabulary import SPACE_ON_DISK

EPSILON, BACK_OFF, BEGIN = "<eps>", "#0", "#begin"
FILES = ("HLG.fst", "k2_arcs.npy", "k2_words.npy", "words.txt", "tokens.txt")
LARGER_LM = "larger_lm.npz"


@dataclass(frozen=True)
class Graph:
    """A compiled graph on disk. words[i] is the word of output label i (0: epsilon); tokens[0] is the blank.

    Input labels of HLG.fst are token number + 1, for OpenFst keeps 0 for epsilon; those of k2_arcs.npy are
    token numbers, for k2 has no input epsilon.
    """

    folder: Path
    tokens: tuple[str, ...]
    words: tuple[str, ...]
    meta: dict

    @property
    def fst(self) -> Path:
        return self.folder / "HLG.fst"

    @property
    def k2_arcs(self) -> Path:
        return self.folder / "k2_arcs.npy"

    @property
    def k2_words(self) -> Path:
        return self.folder / "k2_words.npy"

    @property
    def larger_lm(self) -> Path | None:
        """The larger language model that rescores, where the graph was compiled with one."""
        return self.folder / LARGER_LM if LARGER_LM in self.meta.get("bytes", {}) else None

    @property
    def k2_files(self) -> list[Path]:
        """What k2 needs of the graph."""
        return [self.k2_arcs, self.k2_words] + [self.larger_lm] * bool(self.larger_lm)

    @classmethod
    def load(cls, folder: Path) -> "Graph":
        """Raises DataError when the folder is missing, damaged or of another version."""
        folder = Path(folder)
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            names = FILES + (LARGER_LM,) * (LARGER_LM in meta.get("bytes", {}))
            sizes = {name: (folder / name).stat().st_size for name in names}
            rows = {name: _symbols(folder / f"{name}.txt") for name in ("tokens", "words")}
        except FileNotFoundError as error:
            raise DataError(
                f"{error.filename} does not exist; `ds2 graph` compiles the decoding graph"
            ) from None
        except (ValueError, AttributeError, TypeError, IsADirectoryError):
            raise DataError(f"{folder} is not a decoding graph; `ds2 graph` compiles it again") from None
        if sizes != meta.get("bytes"):
            raise DataError(
                f"{folder} is damaged (file sizes differ from meta.json); `ds2 graph` compiles it again"
            )
        tokens = tuple(" " if token == SPACE_ON_DISK else token for token in rows["tokens"])
        return cls(
            folder, tokens[1 : meta["num_tokens"] + 1], tuple(rows["words"][: meta["num_words"] + 1]), meta
        )

    def check_tokens(self, tokens: Sequence[str]) -> None:
        """Raise DataError when a network with these tokens cannot be decoded with this graph."""
        if tuple(tokens) != self.tokens:
            raise DataError(
                f"{self.folder} was compiled for other tokens than this checkpoint's"
                f" ({_difference(self.tokens, tokens)}): compile it again with `ds2 graph`,"
                " or decode with the checkpoint it was made for"
            )

    def check_larger_lm(self) -> None:
        """Raise UserError when there is no larger language model to rescore with."""
        if not self.larger_lm:
            raise UserError(
                f"{self.folder} has no larger language model to rescore with: name one in recipe.yaml,"
                " as in lm: {rescore_order: 4}, then run `ds2 graph`"
            )

    def spell(self, word_ids: Sequence[int]) -> tuple[str, ...]:
        """The words of a decoder's word numbers."""
        return tuple(self.words[number] for number in word_ids)

    def checked(self, log_probs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log-probabilities (S, V) ready for a decoder: contiguous float32. Raises ValueError where wrong."""
        for number, log_probs_SV in enumerate(log_probs):
            if log_probs_SV.ndim != 2 or log_probs_SV.shape[1] != len(self.tokens):
                shape = log_probs_SV.shape
                raise ValueError(
                    f"utterance {number}: shape {shape}, but the graph has {len(self.tokens)} tokens"
                )
            if np.isnan(log_probs_SV).any() or np.isposinf(log_probs_SV).any():
                raise ValueError(f"utterance {number}: log-probabilities are NaN or infinite")
        return [np.ascontiguousarray(log_probs_SV, dtype=np.float32) for log_probs_SV in log_probs]


def _symbols(path: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in path.read_text(encoding="utf-8").split("\n") if line]


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    only = sorted(set(ours) ^ set(theirs))
    return f"only one side has {' '.join(map(repr, only[:5]))}" if only else "the same ones in another order"


def compile_graph(
    tokens: Sequence[str], lexicon: Lexicon, arpa: Path, out_dir: Path, rescoring_arpa: Path | None = None
) -> Graph:
    """Compile H∘L∘G into a folder, which appears whole or not at all and replaces an older one.

    tokens: the network's, the blank first; where " " is one of them, it stands between words (and may begin
    or end an utterance), otherwise words follow one another directly. arpa may be gzipped. Only words that
    both the lexicon and the language model have can be decoded; `Graph.meta` counts the others. Raises
    UserError when there are none, or when the graph would be too large, and DataError for a damaged ARPA file or a
    spelling outside the tokens. rescoring_arpa: a larger model, for k2 to rescore with.
    """
    check_size(arpa, lexicon)
    in_lm = _words_of(arpa)
    words = [word for word in lexicon.words if word in in_lm]
    if not words:
        raise UserError(
            f"{arpa} and the lexicon have no word in common: {_casing(in_lm, set(lexicon.words))}"
        )
    spellings = _in_token_numbers(lexicon, words, tokens)
    space = tokens.index(" ") if " " in tokens else None
    with whole_folder(out_dir) as folder:
        from ds2toolkit.decode import fsts, grammar

        num_marks = max(fsts.marks(spellings))
        _write_symbols(folder / "words.txt", [EPSILON, *words, BACK_OFF, BOS, EOS])
        marks = [f"#{number}" for number in range(1, num_marks + 1)]
        shown = [SPACE_ON_DISK if token == " " else token for token in tokens]
        _write_symbols(folder / "tokens.txt", [EPSILON, *shown, BACK_OFF, BEGIN, *marks])
        first_pass = fsts.grammar_fst(arpa, folder / "words.txt", folder)
        meta = fsts.compose(spellings, len(tokens), space, first_pass, folder)
        meta |= {"num_tokens": len(tokens), "num_words": len(words), "arpa_sha256": _sha256(arpa)}
        meta["num_lm_words_without_spelling"] = len(in_lm) - len(words)
        meta["num_lexicon_words_outside_lm"] = len(lexicon.words) - len(words)
        if rescoring_arpa:
            meta["num_words_outside_rescoring_lm"] = len(set(words) - _words_of(rescoring_arpa))
            meta["rescoring_arpa_sha256"] = _sha256(rescoring_arpa)
            meta["num_rescoring_ngrams"] = grammar.write(rescoring_arpa, folder, len(words), folder / LARGER_LM)
        names = FILES + (LARGER_LM,) * bool(rescoring_arpa)
        meta["bytes"] = {name: (folder / name).stat().st_size for name in names}
        write_json(folder / "meta.json", meta)
    return Graph.load(out_dir)


def _words_of(arpa: Path) -> set[str]:
    return {ngram[0] for ngram, _, _ in arpa_entries(arpa) if len(ngram) == 1} - {BOS, EOS, UNK}


def _casing(lm_words: set[str], lexicon_words: set[str]) -> str:
    if not lm_words or not lexicon_words:
        return f"{'the lexicon' if lm_words else 'the language model'} has no words"
    for name, change in (("upper-case", str.upper), ("lower-case", str.lower)):
        if {change(word) for word in lexicon_words} & lm_words:
            return f"the language model is {name} and the lexicon is not; write both in the same case"
    return f"one has {min(lm_words)!r}, the other {min(lexicon_words)!r}; is one of them of another corpus?"


def _in_token_numbers(
    lexicon: Lexicon, words: list[str], tokens: Sequence[str]
) -> list[tuple[int, tuple[int, ...]]]:
    ids = {token: number for number, token in enumerate(tokens) if number > 0 and token != " "}
    found = []
    for word_id, word in enumerate(words, 1):
        for spelling in lexicon.spellings[word]:
            if not spelling or not ids.keys() >= set(spelling):
                raise DataError(
                    f"the lexicon spells {word!r} as {' '.join(spelling)!r}: not all tokens of the network"
                )
            found.append((word_id, tuple(ids[token] for token in spelling)))
    return found


def _write_symbols(path: Path, symbols: list[str]) -> None:
    write_text(path, "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
