"""A recipe is a folder: facts in recipe.yaml, one function in local/prepare.py, configurations in conf/."""

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from ds2toolkit.config import RecipeConfig, TrainConfig, from_dict, merge, override, read_yaml
from ds2toolkit.errors import ConfigError, UserError

PACKAGE_CONF = Path(__file__).parent / "conf"


@dataclass(frozen=True)
class Recipe:
    """A recipe folder and, where one was chosen, its variant (`toy`, `mini`), which works in a folder of its own."""

    folder: Path
    variant: str | None
    config: RecipeConfig

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def is_toy(self) -> bool:
        return (self.variant or "").split("-")[-1] == "toy"

    @property
    def work(self) -> Path:
        return self.folder / self.variant if self.variant else self.folder

    @property
    def corpus(self) -> Path:
        return self.work / "corpus"

    @property
    def data(self) -> Path:
        return self.work / "data"

    @property
    def lang(self) -> Path:
        return self.data / "lang"

    def experiment(self, name: str | None, model: Path | None = None) -> Path:
        """exp/NAME. Results of another recipe's model go by the names of that recipe and of its experiment."""
        return self.work / "exp" / (name or (origin(model) if model else "ds2"))

    def cuts(self, split: str) -> Path:
        return self.data / split / "cuts.jsonl.gz"

    def featured_cuts(self, split: str) -> Path:
        return self.data / split / "cuts_feats.jsonl.gz"

    def stage(self, verb: str) -> str:
        """The command that runs the stage of a verb, as a message names it."""
        variant = f" --variant {self.variant}" if self.variant else ""
        script = self.folder / "run.sh"
        number = stage_number(script, verb)
        if number is None:
            return f"ds2 {verb} --recipe {shown(self.folder)}{variant}"
        return f"bash {shown(script)}{variant.replace('--variant toy', '--toy')} --stage {number}"

    def need(self, path: Path, verb: str, wanted_by: str) -> Path:
        """`path`, or a UserError that names the verb that writes it and the command."""
        if path.exists():
            return path
        number = stage_number(self.folder / "run.sh", verb)
        which = f"stage {number} ({verb})" if number is not None else f"`ds2 {verb}`"
        raise UserError(f"{wanted_by} needs {shown(path)}, which {which} writes.\nRun: {self.stage(verb)}")

    @cached_property
    def preparer(self) -> ModuleType:
        return self.local("prepare")

    def local(self, name: str) -> ModuleType:
        """The module local/NAME.py of the recipe. Raises UserError when there is none."""
        path = self.folder / "local" / f"{name}.py"
        if not path.exists():
            raise UserError(f"{shown(path)} does not exist: the recipe {self.name} has no {name}")
        return load_module(path)

    def call(self, function: Callable, *arguments: Any, **offered: Any) -> Any:
        """Call a function of the recipe with those of its options, and of what else is offered, that it takes by name."""
        takes = inspect.signature(function).parameters
        return function(*arguments, **{k: v for k, v in {**self.config.options, **offered}.items() if k in takes})

    def with_options(self, settings: list[str]) -> "Recipe":
        """The recipe with some of its options set anew by KEY=VALUE. Raises ConfigError for one that prepare() has not."""
        if not (options := override(self.config.options, settings)):
            return self
        takes = [name for name in inspect.signature(self.preparer.prepare).parameters][2:]
        if unknown := sorted(options.keys() - set(takes)):
            known = ", ".join(name for name in takes if name != "scratch") or "none"
            raise ConfigError(f"the recipe {self.name} has no option {unknown[0]!r}; prepare() takes: {known}")
        return replace(self, config=replace(self.config, options=options))

    def training(self, conf: str | None, settings: list[str]) -> TrainConfig:
        return training(conf or self.config.conf, settings, self.folder / "conf")


def conf_path(name: str, *folders: Path, but: tuple[Path, ...] = ()) -> Path:
    """A training configuration: a path, or a name in a recipe's conf/ or in ds2toolkit's own (`paper/depth-7x5-gru`)."""
    tried = [Path(name), *(folder / f"{name}.yaml" for folder in (*folders, PACKAGE_CONF))]
    for path in tried:
        if path.is_file() and path not in but:
            return path
    raise ConfigError(f"no training configuration {name!r}: looked for {', '.join(map(shown, tried))}")


def read_conf(path: Path, *folders: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A training configuration laid over the one that it names as its `base`; above: those it is the base of.

    Under its own name it is laid over the one of that name that comes next, so a recipe's `toy` has ds2toolkit's as its base.
    """
    raw = read_yaml(path)
    if base := raw.pop("base", None):
        found = conf_path(str(base), *folders, but=(*above, path))
        raw = merge(read_conf(found, *folders, above=(*above, path)), raw)
    return raw


def training(name: str, settings: list[str], *folders: Path) -> TrainConfig:
    """The training configuration of that name, with `section.key=value` settings laid over it."""
    path = conf_path(name, *folders)
    return from_dict(TrainConfig, override(read_conf(path, *folders), settings), shown(path))


def origin(model: Path) -> str:
    """`librispeech-ds2` for a model at librispeech/exp/ds2, `librispeech-toy-ds2` for one at librispeech/toy/exp/ds2."""
    folder = model.resolve() if model.is_dir() else model.resolve().parent
    work = folder.parent.parent
    recipe = work.name if (work / "recipe.yaml").exists() else f"{work.parent.name}-{work.name}"
    return f"{recipe}-{folder.name}"


def load_module(path: Path) -> ModuleType:
    """A module of a recipe by its path: recipes are folders, not packages."""
    name = f"ds2_recipe_{path.parent.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sibling(file: str, name: str) -> ModuleType:
    """The module NAME.py beside `file`, for a recipe whose local/ has several modules."""
    return load_module(Path(file).with_name(f"{name}.py"))


def stage_number(script: Path, verb: str) -> int | None:
    """The number of the stage of run.sh that runs `ds2 VERB`."""
    if script.exists():
        for line in script.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["stage"] and line.partition("ds2 ")[2].split()[:1] == [verb]:
                return int(words[1])
    return None


def shown(path: Path) -> str:
    """The path as a person would type it: relative to the current folder where it is below it."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def load(folder: Path, variant: str | None = None) -> Recipe:
    """Read recipe.yaml and lay the variant on it. Raises UserError when the folder is no recipe."""
    path = Path(folder) / "recipe.yaml"
    if not path.exists():
        raise UserError(
            f"{shown(path)} does not exist: {shown(Path(folder))} is no recipe folder.\n"
            "Run inside one or name it with --recipe DIR (ds2 list shows them)."
        )
    raw = read_yaml(path)
    variants = raw.pop("variants", {})
    if variant:
        if variant not in variants:
            raise ConfigError(f"{shown(path)} has no variant {variant!r}; it has: {', '.join(variants) or 'none'}")
        raw = merge(raw, variants[variant] or {})
    return Recipe(Path(os.path.abspath(folder)), variant, from_dict(RecipeConfig, raw, shown(path)))


def find(folder: Path) -> list[Path]:
    """Every recipe folder at or below a folder such as egs/."""
    return sorted(path.parent for path in (*folder.glob("recipe.yaml"), *folder.glob("*/recipe.yaml")))
