"""The stage `lm`: a given ARPA file is taken whole and in the case of the text, or refused by name."""

import gzip
import random
import shutil
from pathlib import Path

import pytest
from test_cli import new_recipe

from ds2toolkit.config import LmConfig
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import load
from ds2toolkit.text import ngram
from ds2toolkit.text.arpa import BOS
from ds2toolkit.toy.lzw import compress
from ds2toolkit.verbs.lm import copy_arpa, estimate, given, vocabulary_words

SENTENCES = [["THE", "CAT"], ["THE", "DOG", "SAT"], ["MR.", "CAT", ".PERIOD"]]
PREAMBLE = r"""A bigram language model of the closed vocabulary.
The beginning of data mark: \data\
Its form:

\data\
ngram 1=nr            # number of 1-grams
ngram 2=17

\1-grams:
p_1     wd_1    bo_wt_1

\2-grams:
end of data mark: \end\

"""


@pytest.fixture
def arpa(tmp_path) -> Path:
    ngram.write_arpa(ngram.estimate(SENTENCES, 2), tmp_path / "upper.arpa")
    return tmp_path / "upper.arpa"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, compress], ids=["plain", "gzip", "LZW"])
@pytest.mark.parametrize("preamble", ["", PREAMBLE], ids=["bare", "preamble"])
@pytest.mark.parametrize("gap", ["\t", " "], ids=["tabs", "spaces"])
def test_words_come_out_in_lower_case_with_the_same_probabilities(arpa, tmp_path, pack, preamble, gap):
    upper = ngram.read_arpa(arpa)
    text = arpa.read_text(encoding="utf-8").replace("<unk>", "<UNK>").replace("\t", gap)
    arpa.with_suffix(".z").write_bytes(pack((preamble + text).encode()))
    copy_arpa(arpa.with_suffix(".z"), tmp_path / "G.arpa")
    assert (tmp_path / "G.arpa").read_text(encoding="utf-8").startswith("\\data\\\nngram 1=")
    lower = ngram.read_arpa(tmp_path / "G.arpa")
    assert lower.words == {word.lower() for word in upper.words} >= {"<unk>", "</s>", "mr.", ".period"}
    assert lower.log10_prob("cat", ["the"]) == upper.log10_prob("CAT", ["THE"])
    assert ngram.read_arpa(arpa.with_suffix(".z")).tables[1] == upper.tables[1]


def test_kenlm_reads_a_copy_of_a_file_without_empty_lines(arpa, tmp_path):
    kenlm = pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    dictionary = pytest.importorskip("flashlight.lib.text.dictionary").Dictionary()
    dictionary.add_entry("cat")
    lines = [line for line in arpa.read_text(encoding="utf-8").splitlines() if line]
    arpa.write_text("\n".join(lines) + "\n", encoding="utf-8")
    copy_arpa(arpa, tmp_path / "G.arpa")
    assert kenlm.KenLM(str(tmp_path / "G.arpa"), dictionary)


def test_a_file_cut_off_is_refused_and_leaves_nothing(arpa, tmp_path):
    text = arpa.read_text(encoding="utf-8")
    arpa.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(DataError, match="upper.arpa ends in the middle"):
        copy_arpa(arpa, tmp_path / "G.arpa")
    zipped = tmp_path / "half.arpa.gz"
    zipped.write_bytes(gzip.compress(text.encode())[:-30])
    with pytest.raises(DataError, match="half.arpa.gz is damaged"):
        copy_arpa(zipped, tmp_path / "G.arpa")
    assert not (tmp_path / "G.arpa").exists()


@pytest.mark.skipif(shutil.which("lmplz") is None, reason="KenLM's lmplz is not on the PATH")
@pytest.mark.parametrize(("order", "prune"), [(1, ()), (2, ()), (4, ()), (3, (0, 0, 1))])
def test_lmplz_estimates_the_same_model(tmp_path, order, prune):
    chance = random.Random(0)
    text = [[str(int(chance.paretovariate(0.8))) for _ in range(chance.randint(1, 12))] for _ in range(300)]
    estimate(text, LmConfig(order=order, prune=prune), tmp_path / "G.arpa")
    ours, theirs = ngram.estimate(text, order, prune), ngram.read_arpa(tmp_path / "G.arpa")
    for our_table, their_table in zip(ours.tables, theirs.tables, strict=True):
        assert our_table.keys() == their_table.keys()
        for found in our_table.keys() - {(BOS,)}:  # which is never said: its probability is anything
            assert their_table[found] == pytest.approx(our_table[found], abs=1e-5)


def test_a_file_that_is_not_there_is_asked_for_by_its_place(tmp_path):
    recipe = load(new_recipe(tmp_path / "mine", "lm: {arpa: big.arpa, words: words.txt}\n"))
    with pytest.raises(UserError, match=r"mine/lm/big.arpa does not exist: put it there"):
        given(recipe, recipe.config.lm.arpa)


def with_preparer(folder: Path, source: str) -> Path:
    (folder / "local" / "prepare.py").write_text(source, encoding="utf-8")
    return folder


def test_the_recipe_fetches_what_it_knows(tmp_path):
    folder = new_recipe(tmp_path / "mine", "lm: {words: words.txt}\n")
    source = "def download_lm(folder):\n    folder.mkdir()\n    (folder / 'words.txt').write_text('CAT K AE T\\nDOG\\n\\n')\n"
    assert vocabulary_words(load(with_preparer(folder, source)), [["unused"]]) == ["cat", "dog"]


def test_the_recipe_takes_files_from_its_corpus(tmp_path):
    folder = new_recipe(tmp_path / "mine", "lm: {words: wlist5c.nvp}\n")
    (folder / "corpus").mkdir()
    (folder / "corpus" / "words").write_bytes(compress(b"# Vocabulary, 5k closed\n#\n<UNK>\nMR.\n.PERIOD\nA\n\n</s>\n"))
    source = (
        "import shutil\n\ndef lm_files(corpus_dir, folder):\n    folder.mkdir()\n"
        "    shutil.copy(corpus_dir / 'words', folder / 'wlist5c.nvp')\n"
    )
    recipe = load(with_preparer(folder, source))
    assert vocabulary_words(recipe, []) == [".period", "a", "mr."]
    (folder / "corpus" / "words").unlink()
    assert given(recipe, "wlist5c.nvp") == folder / "lm" / "wlist5c.nvp"


def test_files_of_a_corpus_that_is_not_there_are_asked_for_by_their_stage(tmp_path):
    folder = with_preparer(new_recipe(tmp_path / "mine", "lm: {arpa: x.z}\n"), "def lm_files(corpus_dir, folder):\n    1 / 0\n")
    with pytest.raises(UserError, match="ds2 download"):
        given(load(folder), "x.z")


def test_without_a_list_the_words_are_those_of_the_training_text(tmp_path):
    assert vocabulary_words(load(new_recipe(tmp_path / "mine")), [["b", "a"], ["a"]]) == ["a", "b"]
