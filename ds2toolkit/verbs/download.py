"""Stage `download`: fetch the corpus, link the copy that the user has, or write the toy corpus."""

from pathlib import Path

from ds2toolkit.errors import UserError
from ds2toolkit.recipe import Recipe, shown


def run(recipe: Recipe, corpus_dir: Path | None) -> None:
    if corpus_dir is not None:
        link(recipe, corpus_dir)
    elif recipe.variant == "toy":
        recipe.corpus.mkdir(parents=True, exist_ok=True)
        recipe.local("toy").toy(recipe.corpus)
    elif hasattr(recipe.preparer, "download"):
        recipe.corpus.mkdir(parents=True, exist_ok=True)
        recipe.preparer.download(recipe.corpus, list(recipe.config.splits))
    else:
        raise UserError(
            f"{recipe.name} can't be downloaded by anyone without a licence.\n"
            f"Name your copy: {recipe.stage('download')} --corpus-dir DIR"
        )
    print(f"the corpus is at {shown(recipe.corpus)}")


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
