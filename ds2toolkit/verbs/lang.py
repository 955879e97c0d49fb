"""Stage `lang`: the vocabulary of the network's outputs."""

from collections.abc import Iterator

from ds2toolkit.data import cuts as cut_files
from ds2toolkit.errors import ConfigError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text import pieces
from ds2toolkit.text.vocabulary import Vocabulary


def run(recipe: Recipe) -> None:
    for split in recipe.config.splits.train:
        recipe.need(recipe.cuts(split), "prepare", "lang")
    path = recipe.lang / "tokens.txt"
    vocabulary = make(recipe)
    vocabulary.write(path)
    print(f"{len(vocabulary):,d} tokens in {shown(path)}")


def make(recipe: Recipe) -> Vocabulary:
    """English characters are the same for every corpus; all else comes from the training text. Bigrams are English."""
    kind, size = recipe.config.vocabulary.kind, recipe.config.vocabulary.size
    if kind == "characters":
        english = recipe.config.language == "english"
        return Vocabulary.english_characters() if english else Vocabulary.characters_of(training_texts(recipe))
    if recipe.config.unit == "character":
        path = shown(recipe.folder / "recipe.yaml")
        raise ConfigError(f"{path}: unit: character needs vocabulary: {{kind: characters}}")
    if kind == "bigrams":
        return Vocabulary.english_bigrams(training_texts(recipe))
    return Vocabulary.of_pieces(pieces.train(training_texts(recipe), kind, size))


def training_texts(recipe: Recipe) -> Iterator[str]:
    for split in recipe.config.splits.train:
        for cut in cut_files.read(recipe.cuts(split)):
            yield cut.supervisions[0].text
