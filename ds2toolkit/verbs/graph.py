"""Stage `graph`: tokens, lexicon and language model composed into one decoding graph, H∘L∘G."""

from dataclasses import replace
from pathlib import Path

from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.errors import DataError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.verbs import lm


def run(recipe: Recipe) -> None:
    vocabulary = Vocabulary.read(recipe.need(recipe.lang / "tokens.txt", "lang", "graph"))
    arpa = recipe.need(recipe.lang / "G.arpa", "lm", "graph")
    words = recipe.need(recipe.lang / "words.list", "lm", "graph").read_text(encoding="utf-8").split()
    lexicon, unspellable = Lexicon.from_words(words, vocabulary, recipe.config.language)
    if unspellable:
        print(f"left out {len(unspellable)} words that the tokens can't spell, such as {unspellable[0]!r}")
    if not lexicon.words:
        raise DataError(f"{shown(recipe.lang / 'words.list')}: no word can be spelled with the tokens")
    lexicon.write(recipe.lang / "lexicon.txt")
    meta = compile_graph(vocabulary.tokens, lexicon, arpa, recipe.lang / "graph", rescoring_arpa(recipe)).meta
    for count, what in (
        (meta["num_lm_words_without_spelling"], "words of the language model have no spelling and are left out"),
        (meta["num_lexicon_words_outside_lm"], "words of the lexicon are not in the language model and can't be recognised"),
        (meta.get("num_words_outside_rescoring_lm", 0), "words are not in the larger language model, so that what says them can't be rescored"),
    ):
        if count:
            print(f"{count:,d} {what}")
    print(f"decoding graph of {len(lexicon.words):,d} words in {shown(recipe.lang / 'graph')}")


def rescoring_arpa(recipe: Recipe) -> Path | None:
    """The larger language model for k2 to rescore with, estimated or taken when the recipe asks for one."""
    config, arpa = recipe.config.lm, recipe.lang / "G.rescore.arpa"
    if config.rescore:
        lm.copy_arpa(lm.given(recipe, config.rescore), arpa)
    elif config.rescore_order:
        sentences = list(lm.sentences(recipe, recipe.config.splits.train))
        lm.estimate(sentences, replace(config, order=config.rescore_order, prune=()), arpa)
    return arpa if config.rescore or config.rescore_order else None
