"""How large a decoding graph will be, from the counts of n-grams alone: known before hours are spent on it."""

from collections.abc import Mapping
from pathlib import Path

from ds2toolkit.errors import UserError
from ds2toolkit.text.arpa import COUNT, arpa_lines
from ds2toolkit.text.lexicon import Lexicon

MAX_ARCS = 2**27  # of 16 bytes: k2 counts the bytes of a table of arcs with 32 bits (its issue 1055)
HOW_TO_PRUNE = (
    "Prune it, as with lm: {order: 3, prune: [0, 1, 2]} in recipe.yaml, or name a pruned ARPA there, and run `ds2 lm`"
    " again; the large one can rescore (lm: {rescore: FILE})"
)


def check_size(arpa: Path, lexicon: Lexicon) -> None:
    """Raise UserError when the graph would be larger than k2 can index."""
    counts = announced(arpa)
    if (estimate := graph_arcs(counts, lexicon)) > MAX_ARCS:
        ngrams = ", ".join(f"{count:,d} {length}-grams" for length, count in sorted(counts.items()))
        raise UserError(
            f"{arpa} has {ngrams}: a graph of about {estimate:,d} arcs, and k2's 32-bit indices reach"
            f" {MAX_ARCS:,d}.\n{HOW_TO_PRUNE}"
        )


def announced(arpa: Path) -> dict[int, int]:
    """The number of n-grams of each length, as the head of an ARPA file has it. Raises DataError without one."""
    counts: dict[int, int] = {}
    for line in arpa_lines(arpa):
        if count := COUNT.fullmatch(line):
            counts[int(count[1])] = int(count[2])
        elif line.startswith("\\1-grams"):
            break
    return counts


def graph_arcs(counts: Mapping[int, int], lexicon: Lexicon) -> int:
    """Each n-gram spells its last word, for the most part alone, and H has about two arcs a token.

    Within a factor of two on English from single words to 4-grams, of 100 words and of 1,700.
    """
    spelled = [len(spelling) for spellings in lexicon.spellings.values() for spelling in spellings]
    mean_length = sum(spelled) / max(len(spelled), 1)
    return round(2 * sum(counts.values()) * (mean_length + 1))
