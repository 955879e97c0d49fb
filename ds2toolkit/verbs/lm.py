"""Stage `lm`: the words and their n-gram language model, estimated from the training text or given with the corpus."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ds2toolkit.config import LmConfig
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.errors import UserError
from ds2toolkit.files import whole, write_text
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text import ngram
from ds2toolkit.text.arpa import BOS, EOS, UNK, arpa_lines
from ds2toolkit.text.compressed import open_text
from ds2toolkit.units import split_units


def run(recipe: Recipe) -> None:
    arpa, words = recipe.lang / "G.arpa", recipe.lang / "words.list"
    train = list(sentences(recipe, recipe.config.splits.train))
    dev = list(sentences(recipe, recipe.config.splits.dev))
    if recipe.config.lm.arpa:
        copy_arpa(given(recipe, recipe.config.lm.arpa), arpa)
    else:
        estimate(train, recipe.config.lm, arpa)
    write_text(words, "\n".join(vocabulary_words(recipe, train)) + "\n")
    on_dev = ngram.perplexity(ngram.read_arpa(arpa), dev)
    outside = f"{recipe.config.unit}s outside it {on_dev.oov_rate:.2%}"
    print(f"language model {shown(arpa)}: dev perplexity {on_dev.value:.1f}, {outside}")


def estimate(train: list[list[str]], config: LmConfig, arpa: Path) -> None:
    """The same model either way; KenLM's lmplz, where it is installed, takes texts that memory does not hold."""
    if not (lmplz := shutil.which("lmplz")):
        return ngram.write_arpa(ngram.estimate(train, config.order, config.prune), arpa)
    prune = ["--prune", *map(str, config.prune)] if config.prune else []
    fallback = ["--discount_fallback", *map(str, ngram.FALLBACK_DISCOUNTS)]
    text = "".join(f"{' '.join(sentence)}\n" for sentence in train if sentence)
    with whole(arpa) as part, part.open("wb") as out:
        command = [lmplz, "-o", str(config.order), "-T", str(arpa.parent), *prune, *fallback]
        done = subprocess.run(command, input=text.encode(), stdout=out, stderr=subprocess.PIPE)
        if done.returncode:
            raise UserError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")


def sentences(recipe: Recipe, splits: tuple[str, ...]) -> Iterator[list[str]]:
    """The words of each utterance, or its characters where they are the unit."""
    for split in splits:
        path = recipe.need(recipe.cuts(split), "prepare", "lm")
        for cut in cut_files.read(path):
            yield split_units(cut.supervisions[0].text, recipe.config.unit)


def given(recipe: Recipe, name: str) -> Path:
    """A file of the recipe's own lm/ folder, fetched or taken from the corpus when the recipe knows how."""
    folder = recipe.work / "lm"
    if not (folder / name).exists() and hasattr(recipe.preparer, "lm_files"):
        recipe.call(recipe.preparer.lm_files, recipe.need(recipe.corpus, "download", "lm"), folder)
    if not (folder / name).exists() and hasattr(recipe.preparer, "download_lm"):
        recipe.preparer.download_lm(folder)
    if not (folder / name).exists():
        raise UserError(f"recipe.yaml names the file {name}, but {shown(folder / name)} does not exist: put it there.")
    return folder / name


def copy_arpa(source: Path, target: Path) -> None:
    """Unpack an ARPA file, in lower case and without a preamble. Raises DataError when it is cut off or damaged.

    KenLM asks for an empty line below the counts, which WSJ's files do not have.
    """
    with whole(target) as part, part.open("w", encoding="utf-8") as out:
        for line in arpa_lines(source):
            out.write("\n" * (line == "\\1-grams:") + f"{line.lower()}\n")


def vocabulary_words(recipe: Recipe, train: list[list[str]]) -> list[str]:
    """The words the graph can say: the given list's, in lower case as the model's, or those of the training text."""
    if not recipe.config.lm.words:
        return sorted({word for sentence in train for word in sentence})
    with open_text(given(recipe, recipe.config.lm.words)) as lines:
        words = {line.split()[0].lower() for line in lines if line.strip() and not line.startswith("#")}
    return sorted(words - {BOS, EOS, UNK})
