"""Stage `lang`: the vocabulary of the network's outputs."""

from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text.vocabulary import Vocabulary


def run(recipe: Recipe) -> None:
    recipe.need(recipe.cuts(recipe.config.splits.train[0]), "prepare", "lang")
    path = recipe.lang / "tokens.txt"
    vocabulary().write(path)
    print(f"{len(vocabulary())} tokens in {shown(path)}")


def vocabulary() -> Vocabulary:
    """The vocabulary that training text is held to already in `prepare`."""
    return Vocabulary.english_characters()
