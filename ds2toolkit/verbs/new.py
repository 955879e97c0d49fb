"""`ds2 new`: a recipe folder for a corpus of one's own, from the template."""

import shutil
from pathlib import Path

from ds2toolkit.errors import UserError
from ds2toolkit.files import whole_folder
from ds2toolkit.recipe import shown

EGS = Path(__file__).parent.parent.parent / "egs"
MADE_BY_RUNS = shutil.ignore_patterns("__pycache__", "corpus", "data", "exp", "lm", "toy", "results", "RESULTS.md")


def run(folder: Path) -> None:
    template = EGS / "template"
    if not template.is_dir():
        raise UserError(f"{template} does not exist: `ds2 new` needs a checkout of ds2toolkit (pip install -e).")
    if folder.exists():
        raise UserError(f"{folder.absolute()} exists already. Name another folder.")
    with whole_folder(folder) as part:
        shutil.copytree(template, part, ignore=MADE_BY_RUNS, dirs_exist_ok=True)
        for name in ("run.sh", "recipe.yaml", "README.md"):
            rename(part / name, folder)
    print(
        f"{shown(folder)} is a recipe. Next:\n"
        f"  1. state the facts in {shown(folder / 'recipe.yaml')}\n"
        f"  2. read your corpus in {shown(folder / 'local' / 'prepare.py')}\n"
        f"  3. write a few utterances of its layout in {shown(folder / 'local' / 'toy.py')} (or delete it)\n"
        f"  4. ds2 check --recipe {shown(folder)}   then   bash {shown(folder / 'run.sh')} --corpus-dir DIR"
    )


def rename(path: Path, folder: Path) -> None:
    """The recipe's own name in its files, and in run.sh the way to stages.sh from where it stands."""
    text = path.read_text(encoding="utf-8").replace("egs/template/run.sh", str(shown(folder / "run.sh")))
    text = text.replace("Template: a table of WAV files, to copy for a corpus of your own", folder.name)
    text = text.replace("# NAME", f"# {folder.name}")
    if folder.resolve().parent != EGS:
        text = text.replace('"$(dirname "${BASH_SOURCE[0]}")/../stages.sh"', f'"{EGS / "stages.sh"}"')
    path.write_text(text, encoding="utf-8")
