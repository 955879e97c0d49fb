"""Stage `download`: fetch the corpus, link the copy that the user has, or write the toy corpus."""

import json
import shutil
from pathlib import Path

from ds2toolkit.errors import UserError
from ds2toolkit.files import write_text
from ds2toolkit.recipe import Recipe, shown


def run(recipe: Recipe, corpus_dir: Path | None, size: int | None, options: list[str]) -> None:
    recipe = recipe.with_options(options)
    if corpus_dir is not None:
        link(recipe, corpus_dir)
    elif recipe.is_toy:
        write_toy(recipe, recipe.corpus, size)
    elif hasattr(recipe.preparer, "download"):
        recipe.corpus.mkdir(parents=True, exist_ok=True)
        recipe.call(recipe.preparer.download, recipe.corpus, list(recipe.config.splits))
    else:
        raise UserError(
            f"the recipe {recipe.name} does not download its corpus.\nName your copy: {recipe.stage('download')} --corpus-dir DIR"
        )
    print(f"the corpus is at {shown(recipe.corpus)}")


def write_toy(recipe: Recipe, folder: Path, size: int | None) -> None:
    """The recipe's toy corpus, anew where it was made in other sizes. size: at most so many utterances a split."""
    module = recipe.local("toy")
    sizes = {split: min(count, size or count) for split, count in module.SIZES.items()}
    record, wanted = folder.with_name(f"{folder.name}-sizes.json"), json.dumps(sizes)
    if not folder.is_symlink() and record.exists() and record.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        folder.mkdir(parents=True)
        write_text(record, wanted)
    recipe.call(module.toy, folder, sizes=sizes)


def link(recipe: Recipe, corpus_dir: Path) -> None:
    """Make the work folder's `corpus` a link to the user's copy. Raises UserError when that would hide a download."""
    corpus_dir = Path(corpus_dir).resolve()
    if not corpus_dir.is_dir():
        raise UserError(f"--corpus-dir {corpus_dir} is not a folder")
    recipe.work.mkdir(parents=True, exist_ok=True)
    if recipe.corpus.is_symlink():
        recipe.corpus.unlink()
    elif recipe.corpus.exists():
        raise UserError(
            f"{shown(recipe.corpus)} is a folder already, downloaded or made by stage 0.\n"
            f"Move it away to use {corpus_dir} instead."
        )
    recipe.corpus.symlink_to(corpus_dir)
