"""`ds2 check`: holds a recipe folder to the contract, on its toy corpus or a copy of the real one, in plain words."""

import inspect
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from ds2toolkit import recipe as recipes
from ds2toolkit.data import convert
from ds2toolkit.data.report import Report
from ds2toolkit.errors import UserError
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.text.normalise import normalise, unknown
from ds2toolkit.verbs.download import write_toy
from ds2toolkit.verbs.prepare import checker, read

NUM_TOY_UTTERANCES = 8
VERBS = {path.stem for path in Path(__file__).parent.glob("*.py")}


class Wrong(UserError):
    """What a recipe does against the contract."""


def run(recipe: Recipe, corpus_dir: Path | None) -> None:
    """Print one line a check. Raises UserError with what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = list(faults(recipe, corpus_dir, Path(folder)))
    if wrong:
        raise UserError(f"{recipe.name} does not keep the contract of a recipe:\n" + "\n".join(f"- {one}" for one in wrong))
    print(f"{recipe.name} keeps the contract of a recipe")


def faults(recipe: Recipe, corpus_dir: Path | None, folder: Path) -> Iterator[str]:
    """Check after check; one that the following need ends the row."""
    yield from attempt("recipe.yaml", facts, recipe)
    yield from attempt("run.sh", script, recipe)
    rows = [("local/prepare.py", signature, recipe)]
    if corpus_dir is None:
        if not (recipe.folder / "local" / "toy.py").exists():
            raise UserError("there is no local/toy.py to check on: name a copy of the corpus with --corpus-dir DIR")
        recipe = as_toy(recipe)
        corpus_dir = folder / "corpus"
        rows += [("local/toy.py", toy, recipe, folder)]
    rows += [("prepare()", prepared, recipe, corpus_dir, folder), ("prepare() of a wrong folder", refused, recipe, folder)]
    for title, check, *arguments in rows:
        wrong = list(attempt(title, check, *arguments))
        yield from wrong
        if wrong:
            return


def attempt(title: str, check: Callable[..., str], *arguments) -> Iterator[str]:
    """The fault that a check finds, if any; an error of the recipe's own code is one too, with its line."""
    try:
        print(f"ok     {title}: {check(*arguments)}")
    except Wrong as error:
        yield f"{title}: {error}"
    except UserError as error:
        yield f"{title}: {str(error).splitlines()[0]}"
    except Exception as error:  # whatever the recipe's code does is a finding, not the end of the check
        yield f"{title}: ended with {type(error).__name__}: {error}{place(error)}"


def place(error: Exception) -> str:
    """The last line of a recipe's own code that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent.name == "local"]
    return f" ({shown(Path(frames[-1].filename))}, line {frames[-1].lineno})" if frames else ""


def as_toy(recipe: Recipe) -> Recipe:
    if recipe.is_toy:
        return recipe
    variants = recipes.read_yaml(recipe.folder / "recipe.yaml").get("variants", {})
    wanted = f"{recipe.variant}-toy" if recipe.variant else "toy"
    return recipes.load(recipe.folder, wanted) if wanted in variants else recipe


def facts(recipe: Recipe) -> str:
    """recipe.yaml in each of its variants."""
    variants = recipes.read_yaml(recipe.folder / "recipe.yaml").get("variants", {})
    for variant in (None, *variants):
        one = recipes.load(recipe.folder, variant)
        one.training(None, [])
        normalise(one.config.language, "")
        if not (one.config.splits.train and one.config.splits.dev and one.config.splits.test):
            raise Wrong(f"splits: train, dev and test need one split each{f' in the variant {variant}' if variant else ''}")
    return f"{recipe.config.title}; variants: {', '.join(variants) or 'none'}"


def script(recipe: Recipe) -> str:
    """run.sh, where there is one: only verbs that there are."""
    path = recipe.folder / "run.sh"
    if not path.exists():
        return "none: bash egs/run.sh --recipe DIR runs it"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("stage ")]
    verbs = [line.partition("ds2 ")[2].split()[:1] for line in lines]
    if bad := [line for line, verb in zip(lines, verbs, strict=True) if not verb or verb[0] not in VERBS]:
        raise Wrong(f"no stage that runs a verb of ds2: {bad[0]!r}")
    return f"{len(lines)} stages"


def signature(recipe: Recipe) -> str:
    """prepare(corpus_dir, report, …) with every option of recipe.yaml."""
    if not hasattr(recipe.preparer, "prepare"):
        raise Wrong("has no function prepare(corpus_dir, report)")
    takes = list(inspect.signature(recipe.preparer.prepare).parameters)
    if len(takes) < 2:
        raise Wrong(f"prepare takes ({', '.join(takes)}); it is called with (corpus_dir, report)")
    recipe.with_options([])
    return f"prepare({', '.join(takes)})"


def toy(recipe: Recipe, folder: Path) -> str:
    """The toy corpus, twice the same, and left alone where it stands."""
    for name in ("corpus", "again"):
        write_toy(recipe, folder / name, NUM_TOY_UTTERANCES)
    ours, theirs = (contents(folder / name) for name in ("corpus", "again"))
    if ours != theirs:
        differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        raise Wrong(f"two runs with one seed differ, first in {differ[0]}")
    written = times(folder / "corpus")
    write_toy(recipe, folder / "corpus", NUM_TOY_UTTERANCES)
    if times(folder / "corpus") != written:
        raise Wrong("a corpus that is there already was written over")
    return f"{len(ours)} files, the same twice"


def contents(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def prepared(recipe: Recipe, corpus_dir: Path, folder: Path) -> str:
    """What prepare() returns, and what is left of it after the checks that every corpus goes through."""
    report = Report()
    splits = read(recipe, corpus_dir, folder, report)
    if not isinstance(splits, dict) or not all(isinstance(cuts, CutSet) for cuts in splits.values()):
        raise Wrong("does not return a dict from the name of a split to a lhotse CutSet")
    if missing := [name for name in recipe.config.splits if name not in splits]:
        raise Wrong(f"recipe.yaml names the split {missing[0]!r}; returned are: {', '.join(splits) or 'none'}")
    kept = {name: usable(recipe, name, cuts, folder, report) for name, cuts in splits.items() if name in recipe.config.splits}
    apart(recipe, kept)
    again = read(recipe, corpus_dir, folder, Report())
    if {name: [cut.id for cut in cuts] for name, cuts in again.items()} != {n: [c.id for c in cuts] for n, cuts in splits.items()}:
        raise Wrong("called twice on one corpus it returns other utterances")
    dropped = sum(report.counts().values())
    conditions = Counter(condition(cut) for name in recipe.config.splits.test for cut in kept.get(name, ()))
    unused = "".join(f"; {name} is not used by recipe.yaml" for name in splits if name not in kept)
    return (
        f"{sum(map(len, kept.values()))} utterances, {dropped} dropped with a reason{unused}; "
        f"conditions of the test sets: {', '.join(sorted(filter(None, conditions))) or 'none'}"
    )


def condition(cut: Cut) -> str | None:
    return (cut.supervisions[0].custom or {}).get("condition")


def usable(recipe: Recipe, split: str, cuts: CutSet, folder: Path, report: Report) -> list[Cut]:
    """The cuts of a split that the driver keeps. Raises Wrong where each of them has a fault, or a cut is no utterance."""
    for cut in cuts:
        if len(cut.supervisions) != 1 or not isinstance(cut.supervisions[0].text, str):
            raise Wrong(f"the cut {cut.id} of {split} has not one supervision with a text")
        if not cut.supervisions[0].speaker:
            raise Wrong(f"the cut {cut.id} of {split} has no speaker")
    kept = list(checker(recipe, split).check(convert.to_flac(split, cuts, folder / "audio", 1, report), report, 1))
    if not kept:
        raise Wrong(f"no utterance of {split} can be used: {dict(report.counts())}")
    text = kept[0].supervisions[0].text
    if unknown(recipe.config.language, text) and split not in recipe.config.splits.test:
        raise Wrong(f"{kept[0].id}: {text!r} has characters that {recipe.config.language} is not written with")
    return kept


def apart(recipe: Recipe, kept: dict[str, list[Cut]]) -> None:
    """No audio file is trained on and tested on."""
    config = recipe.config.splits
    trained = {source for name in config.train for source in sources(kept[name])}
    for name in set((*config.dev, *config.test)) - set(config.train):
        if both := sorted(trained & sources(kept.get(name, []))):
            raise Wrong(f"{both[0]} is in training and in {name}")


def sources(cuts: list[Cut]) -> set[tuple[str, float]]:
    return {(cut.recording.sources[0].source, cut.start) for cut in cuts}


def refused(recipe: Recipe, folder: Path) -> str:
    """A folder without the corpus gets a message for people."""
    empty = folder / "empty"
    empty.mkdir()
    try:
        splits = read(recipe, empty, folder / "nothing", Report())
    except UserError as error:
        if str(empty) not in str(error):
            raise Wrong(f"its message does not name the folder: {error}") from None
        return str(error).splitlines()[0].replace(str(empty), "DIR")
    raise Wrong(f"returns {splits!r}; raise ds2toolkit.errors.DataError that names the folder and what was looked for in it")
