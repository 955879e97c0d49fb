"""`ds2 list`: the recipes below a folder and how far each has come."""

from pathlib import Path

from ds2toolkit import recipe as recipes
from ds2toolkit.errors import UserError
from ds2toolkit.recipe import shown


def run(folder: Path) -> None:
    found = recipes.find(folder) or recipes.find(folder / "egs")
    if not found:
        raise UserError(f"no recipe below {shown(folder)}: a recipe is a folder with a recipe.yaml. Name one: ds2 list DIR")
    for path in found:
        recipe = recipes.load(path)
        variants = recipes.read_yaml(path / "recipe.yaml").get("variants", {})
        print(f"{shown(path):24} {recipe.config.title}")
        for variant in (None, *variants):
            print(f"  {variant or 'full':10} {status(recipes.load(path, variant))}")


def status(recipe: recipes.Recipe) -> str:
    """The last stage whose output stands."""
    steps = {
        "not started": recipe.folder,
        "corpus there": recipe.corpus,
        "prepared": recipe.data / "report.txt",
        "features computed": recipe.featured_cuts(recipe.config.splits.train[0]),
        "graph compiled": recipe.lang / "graph",
    }
    reached = [name for name, path in steps.items() if path.exists()][-1]
    trained = [path.parent.name for path in sorted(recipe.work.glob("exp/*/best.pt"))]
    return reached + (f"; trained: {', '.join(trained)}" if trained else "")
