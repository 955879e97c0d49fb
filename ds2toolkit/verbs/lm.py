"""Stage `lm`: the words and their n-gram language model, estimated from the training text or given with the corpus."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from ds2toolkit.data import cuts as cut_files
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import whole, write_text
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text import ngram
from ds2toolkit.text.normalise import normalise


def run(recipe: Recipe) -> None:
    arpa, words = recipe.lang / "G.arpa", recipe.lang / "words.list"
    train = list(sentences(recipe, recipe.config.splits.train))
    dev = list(sentences(recipe, recipe.config.splits.dev))
    if recipe.config.lm.arpa:
        copy_arpa(given(recipe, recipe.config.lm.arpa), arpa)
    else:
        ngram.write_arpa(ngram.estimate(train, recipe.config.lm.order), arpa)
    write_text(words, "\n".join(vocabulary_words(recipe, train)) + "\n")
    on_dev = ngram.perplexity(ngram.read_arpa(arpa), dev)
    print(f"language model {shown(arpa)}: dev perplexity {on_dev.value:.1f}, words outside it {on_dev.oov_rate:.2%}")


def sentences(recipe: Recipe, splits: tuple[str, ...]) -> Iterator[list[str]]:
    for split in splits:
        path = recipe.need(recipe.cuts(split), "prepare", "lm")
        for cut in cut_files.read(path):
            yield cut.supervisions[0].text.split()


def given(recipe: Recipe, name: str) -> Path:
    """A file of the recipe's own lm/ folder, fetched when the recipe knows from where."""
    folder = recipe.work / "lm"
    if not (folder / name).exists() and hasattr(recipe.preparer, "download_lm"):
        recipe.preparer.download_lm(folder)
    if not (folder / name).exists():
        raise UserError(f"recipe.yaml names the file {name}, but {shown(folder / name)} does not exist: put it there.")
    return folder / name


def copy_arpa(source: Path, target: Path) -> None:
    """Unpack an ARPA file, its words in the case of the recipe's normalised text. Raises DataError when it is cut off."""
    opener = gzip.open if source.suffix == ".gz" else open
    last = ""
    try:
        with opener(source, "rt", encoding="utf-8") as lines, whole(target) as part, part.open("w", encoding="utf-8") as out:
            for line in lines:
                last = line.strip() or last
                out.write(lower_words(line))
            if last != "\\end\\":
                raise DataError(f"{shown(source)} is cut off: its last line is not \\end\\")
    except (EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise DataError(f"{shown(source)} is damaged: {error}") from None


def lower_words(line: str) -> str:
    """An n-gram line with its words in lower case; <s>, </s> and <unk> stay as ARPA has them."""
    return line.lower() if "\t" in line else line


def vocabulary_words(recipe: Recipe, train: list[list[str]]) -> list[str]:
    """The words the graph can say: the given list's, or those of the training text."""
    if not recipe.config.lm.words:
        return sorted({word for sentence in train for word in sentence})
    lines = given(recipe, recipe.config.lm.words).read_text(encoding="utf-8").splitlines()
    return sorted({normalise(recipe.config.language, line.split()[0]) for line in lines if line.split()} - {""})
