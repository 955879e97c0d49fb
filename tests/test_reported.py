"""Published figures: the paper's benchmark table in full, every figure with its source, none beside a toy."""

from pathlib import Path

import pytest

from ds2toolkit.config import RecipeConfig, from_dict, read_yaml
from ds2toolkit.score import reported

ROOT = Path(__file__).parent.parent
BENCHMARKS = {  # DS1, DS2, human (arXiv 1512.02595, section 6)
    "WSJ eval'92": (4.94, 3.60, 5.03),
    "WSJ eval'93": (6.94, 4.98, 8.08),
    "LibriSpeech test-clean": (7.89, 5.33, 5.83),
    "LibriSpeech test-other": (21.74, 13.25, 12.69),
    "VoxForge American-Canadian": (15.01, 7.55, 4.85),
    "VoxForge Commonwealth": (28.46, 13.56, 8.15),
    "VoxForge European": (31.20, 17.55, 12.76),
    "VoxForge Indian": (45.35, 22.44, 22.15),
    "CHiME eval clean": (6.30, 3.34, 3.46),
    "CHiME eval real": (67.94, 21.79, 11.84),
    "CHiME eval sim": (80.27, 45.05, 31.33),
    "Baidu test": (24.01, 13.59, None),
}


def test_the_benchmark_table_in_full():
    found = {(one.row, one.system): one.value for one in reported.table("benchmarks")}
    expected = {
        (row, system): value
        for row, values in BENCHMARKS.items()
        for system, value in zip(("DS1", "DS2", "human"), values, strict=True)
        if value is not None
    }
    assert found == expected


@pytest.mark.parametrize("one", reported.load(), ids=lambda one: f"{one.table}:{one.row}:{one.system}:{one.set}")
def test_every_figure_has_its_source_and_is_of_a_set_that_a_recipe_tests(one):
    assert len(one.source) > 20 and 0 < one.value < 100 and one.metric in ("wer", "cer")
    if one.recipe:
        raw = read_yaml(ROOT / "egs" / one.recipe / "recipe.yaml")
        variants = raw.pop("variants", {})
        assert variants is not None
        assert one.set in from_dict(RecipeConfig, raw, one.recipe).splits.test
    if one.system.startswith("paper/"):
        assert (ROOT / "ds2toolkit/conf" / f"{one.system}.yaml").is_file()


def test_figures_not_read_from_the_paper_say_so():
    assert {one.table for one in reported.load() if not one.checked} == {"norm", "sortagrad"}


def test_beside_our_own_rows():
    clean = reported.beside("librispeech", None, "test-clean", "all", "wer")
    assert [(one.system, one.value) for one in clean][:3] == [("DS1", 7.89), ("DS2", 5.33), ("human", 5.83)]
    assert reported.beside("librispeech", "bpe", "test-clean", "all", "wer") == clean
    assert [one.value for one in reported.beside("an4", None, "test", "all", "cer")] == [5.515]
    assert [one.system for one in reported.beside("voxforge", None, "test", "indian", "wer")][:2] == ["DS1", "DS2"]


@pytest.mark.parametrize(
    "key",
    [
        ("librispeech", "toy", "test-clean", "all", "wer"),
        ("librispeech", "bpe-toy", "test-clean", "all", "wer"),
        ("librispeech", None, "test-clean", "female", "wer"),
        ("librispeech", None, "test-clean", "all", "cer"),
        ("mine", None, "test-clean", "all", "wer"),
        (None, None, "Baidu test", "all", "wer"),
    ],
)
def test_nothing_beside_other_sets(key):
    assert reported.beside(*key) == ()


def test_conditions_of_voxforge_are_those_of_the_recipe():
    groups = {one.condition for one in reported.table("benchmarks") if one.recipe == "voxforge"}
    source = (ROOT / "egs/voxforge/local/speakers.py").read_text(encoding="utf-8")
    assert len(groups) == 4 and all(f'"{group}":' in source for group in groups)
