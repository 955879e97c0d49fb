"""`ds2 plot`: loss, dev error rate, learning rate, gradient norm and speed of training runs in one picture."""

from importlib.util import find_spec
from pathlib import Path

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import shown
from ds2toolkit.train import runs
from ds2toolkit.verbs.errors import command

FORMATS = (".png", ".svg", ".pdf")


def run(exps: list[Path], out: Path) -> None:
    if out.suffix not in FORMATS:
        raise UserError(f"--out {out}: expected a name that ends in one of {' '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise UserError("ds2 plot needs matplotlib.\nRun: pip install 'ds2toolkit[plots]'")
    for exp in exps:
        if not exp.is_dir():
            raise UserError(f"{shown(exp)} does not exist: name folders such as egs/an4/exp/ds2 (ds2 list shows them)")
    runs.draw({name: recorded(exp) for name, exp in zip(names(exps), exps, strict=True)}, out)
    print(f"{', '.join(names(exps))} in {shown(out)}")


def names(exps: list[Path]) -> list[str]:
    """Those of the folders; where two are the same, their paths."""
    short = [exp.resolve().name for exp in exps]
    return short if len(set(short)) == len(short) else [str(shown(exp)) for exp in exps]


def recorded(exp: Path) -> dict[str, runs.Curve]:
    try:
        return runs.read(exp)
    except DataError as error:
        raise DataError(f"{error}.\nRun: {command('train', exp)}") from None
