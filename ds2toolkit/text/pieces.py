"""Word pieces: subword units of a text, by sentencepiece (Kudo and Richardson, 2018), byte-pair or unigram."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import sentencepiece

from ds2toolkit.errors import DataError, UserError

BLANK = "<blk>"
WORD_START = "▁"
TOO_MANY = re.compile(r"size too high \(\d+\).*<= (\d+)")
TOO_FEW = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


@dataclass(frozen=True)
class Pieces:
    """A trained model, as sentencepiece stores it; its piece 0, for what it can't spell, is the CTC blank here."""

    model: bytes

    @cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        """Raises DataError when the model is damaged."""
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self.model or b"empty")
        except RuntimeError:
            raise DataError("the sentencepiece model is damaged") from None

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The blank, then the pieces by number; one that begins a word begins with WORD_START."""
        return tuple(self._processor.id_to_piece(list(range(len(self._processor)))))

    def encode(self, text: str) -> list[int]:
        """Numbers of pieces; no piece crosses a space, so a text's are its words' one after another."""
        return self._processor.encode(text)


def train(texts: Iterable[str], kind: Literal["bpe", "unigram"], size: int) -> Pieces:
    """`size` pieces of normalised texts, the blank and every character among them; the same texts, the same pieces.

    Raises UserError when the texts can't give so many or need more.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, model_type=kind, vocab_size=max(size, 1), num_threads=1,
            unk_id=0, unk_piece=BLANK, bos_id=-1, eos_id=-1, pad_id=-1, character_coverage=1.0,
            normalization_rule_name="identity", max_sentence_length=1 << 20, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise UserError(f"{_why(str(error), size)}; change vocabulary: {{size: …}} in recipe.yaml") from None
    return Pieces(model.getvalue())


def _why(message: str, size: int) -> str:
    if most := TOO_MANY.search(message):
        return f"the training text gives no {size} word pieces, at most {most[1]}"
    if least := TOO_FEW.search(message):
        return f"the training text has too many characters for {size} word pieces, it needs at least {least[1]}"
    raise RuntimeError(message)
