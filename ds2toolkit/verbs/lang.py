"""Stage `lang`: the vocabulary of the network's outputs."""

from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text.vocabulary import Vocabulary


def run(recipe: Recipe) -> None:
    recipe.need(recipe.cuts(recipe.config.splits.train[0]), "prepare", "lang")
    path = recipe.lang / "tokens.txt"
    vocabulary = Vocabulary.english_characters()
    vocabulary.write(path)
    print(f"{len(vocabulary.tokens)} tokens in {shown(path)}")
