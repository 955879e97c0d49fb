"""The stage `lm`: a given ARPA file is taken whole and in the case of the text, or refused by name."""

import gzip
from pathlib import Path

import pytest
from test_cli import new_recipe

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import load
from ds2toolkit.text import ngram
from ds2toolkit.verbs.lm import copy_arpa, given, vocabulary_words

SENTENCES = [["THE", "CAT"], ["THE", "DOG", "SAT"]]


@pytest.fixture
def arpa(tmp_path) -> Path:
    ngram.write_arpa(ngram.estimate(SENTENCES, 2), tmp_path / "upper.arpa")
    return tmp_path / "upper.arpa"


@pytest.mark.parametrize("zipped", [False, True])
def test_words_come_out_in_lower_case_with_the_same_probabilities(arpa, tmp_path, zipped):
    if zipped:
        (tmp_path / "upper.arpa.gz").write_bytes(gzip.compress(arpa.read_bytes()))
    copy_arpa(tmp_path / "upper.arpa.gz" if zipped else arpa, tmp_path / "G.arpa")
    upper, lower = ngram.read_arpa(arpa), ngram.read_arpa(tmp_path / "G.arpa")
    assert lower.words == {word.lower() for word in upper.words}
    assert lower.log10_prob("cat", ["the"]) == upper.log10_prob("CAT", ["THE"])


def test_a_file_cut_off_is_refused_and_leaves_nothing(arpa, tmp_path):
    text = arpa.read_text(encoding="utf-8")
    arpa.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(DataError, match="upper.arpa is cut off"):
        copy_arpa(arpa, tmp_path / "G.arpa")
    zipped = tmp_path / "half.arpa.gz"
    zipped.write_bytes(gzip.compress(text.encode())[:-30])
    with pytest.raises(DataError, match="half.arpa.gz is damaged"):
        copy_arpa(zipped, tmp_path / "G.arpa")
    assert not (tmp_path / "G.arpa").exists()


def test_a_file_that_is_not_there_is_asked_for_by_its_place(tmp_path):
    recipe = load(new_recipe(tmp_path / "mine", "lm: {arpa: big.arpa, words: words.txt}\n"))
    with pytest.raises(UserError, match=r"mine/lm/big.arpa does not exist: put it there"):
        given(recipe, recipe.config.lm.arpa)


def test_the_recipe_fetches_what_it_knows(tmp_path):
    folder = new_recipe(tmp_path / "mine", "lm: {words: words.txt}\n")
    (folder / "local" / "prepare.py").write_text(
        "def download_lm(folder):\n    folder.mkdir()\n    (folder / 'words.txt').write_text('CAT K AE T\\nDOG\\n\\n')\n",
        encoding="utf-8",
    )
    assert vocabulary_words(load(folder), [["unused"]]) == ["cat", "dog"]


def test_without_a_list_the_words_are_those_of_the_training_text(tmp_path):
    assert vocabulary_words(load(new_recipe(tmp_path / "mine")), [["b", "a"], ["a"]]) == ["a", "b"]
