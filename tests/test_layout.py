"""The house: imports point down, heavy packages keep to their rooms, modules stay small and say what they are."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ds2toolkit"
FLOORS = [
    {"errors", "units"},
    {"files", "parallel", "workers"},
    {"config"},
    {"text", "model", "score", "toy"},
    {"data"},
    {"checkpoint"},
    {"train", "decode"},
    {"recipe"},
    {"verbs"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ROOMS = {
    "k2": {"decode/k2_decoder.py"},
    "kaldi_decoder": {"decode/kaldi_decoder.py"},
    "kaldifst": {"decode"},
    "kaldilm": {"decode/fsts.py"},
    "flashlight": {"decode"},
    "kaldifeat": {"data/features.py"},
    "av": {"data/sphere.py"},
    "sentencepiece": {"text/pieces.py"},
    "kaldialign": {"score/align.py"},
    "espeakng_loader": {"toy"},
    "jsonargparse": {"config/yaml.py", "cli.py"},
    "argparse": {"cli.py"},
    "matplotlib": {"decode/calibration.py", "decode/surface.py", "train/curves.py", "train/runs.py", "score/plot.py"},
    "jinja2": {"score/page"},
    "markupsafe": {"score/page"},
    "lhotse": {"data", "decode", "verbs"},
    "torch": {"data", "model", "train", "decode", "checkpoint.py", "verbs", "workers.py"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = room(path)
    for name in imports(path):
        there = (name.split(".") + [""])[1] if name.startswith("ds2toolkit.") else None
        if there in FLOOR and here in FLOOR and there != here:
            assert FLOOR[there] < FLOOR[here], f"{path} imports {name}: {here} stands below or beside {there}"


def test_every_room_has_a_floor():
    assert {room(path) for path in MODULES} - {"__init__"} <= set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_keep_to_their_rooms(path):
    place = str(path.relative_to(PACKAGE))
    for name in imports(path):
        homes = ROOMS.get(name.split(".")[0])
        assert homes is None or any(place == home or place.startswith(home + "/") for home in homes), f"{place}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_say_what_they_are_and_stay_small(path):
    source = path.read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
    assert first.rstrip().endswith((".", "?")) or "." in first, f"{path} does not open with a sentence"
    assert source.count("\n") <= 250


def test_scoring_and_configuration_need_no_torch():
    for path in [*PACKAGE.glob("score/**/*.py"), *PACKAGE.glob("text/*.py"), *PACKAGE.glob("config/*.py"), PACKAGE / "recipe.py"]:
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "lhotse"}, path
