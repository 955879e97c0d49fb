"""A recipe is a folder: facts in recipe.yaml, one function in local/prepare.py, configurations in conf/."""

import importlib.util
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from ds2toolkit.config import RecipeConfig, TrainConfig, from_dict, merge, override, read_yaml
from ds2toolkit.errors import ConfigError, UserError


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

    def experiment(self, name: str) -> Path:
        return self.work / "exp" / name

    def cuts(self, split: str) -> Path:
        return self.data / split / "cuts.jsonl.gz"

    def featured_cuts(self, split: str) -> Path:
        return self.data / split / "cuts_feats.jsonl.gz"

    def stage(self, verb: str) -> str:
        """The command that runs the stage of a verb, as a message names it."""
        flags = f" --{self.variant}" if self.variant in ("toy", "mini") else ""
        script = self.folder / "run.sh"
        number = stage_number(script, verb)
        if number is None:
            variant = f" --variant {self.variant}" if self.variant else ""
            return f"ds2 {verb} --recipe {shown(self.folder)}{variant}"
        return f"bash {shown(script)}{flags} --stage {number}"

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
        spec = importlib.util.spec_from_file_location(f"ds2_recipe_{self.name}_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def conf_path(self, name: str | None) -> Path:
        """A training configuration: a path, or a name in the recipe's conf/."""
        name = name or self.config.conf
        tried = [Path(name), self.folder / "conf" / f"{name}.yaml"]
        for path in tried:
            if path.is_file():
                return path
        raise ConfigError(f"no training configuration {name!r}: looked for {', '.join(map(shown, tried))}")

    def training(self, conf: str | None, settings: list[str]) -> TrainConfig:
        path = self.conf_path(conf)
        return from_dict(TrainConfig, override(read_yaml(path), settings), shown(path))


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
