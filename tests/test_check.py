"""`ds2 new` and `ds2 check`: the template keeps the contract, and each way to break it is said in plain words."""

import subprocess
import sys
from pathlib import Path

import pytest

from ds2toolkit.errors import UserError
from ds2toolkit.recipe import load
from ds2toolkit.verbs import check, new

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mine(tmp_path, capsys) -> Path:
    new.run(tmp_path / "mine")
    return tmp_path / "mine"


def wrong(folder: Path, corpus_dir: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        check.run(load(folder), corpus_dir)
    return str(caught.value)


def test_a_new_recipe_keeps_the_contract_as_it_is(mine, capsys):
    check.run(load(mine), None)
    said = capsys.readouterr().out
    assert "mine keeps the contract" in said and "conditions of the test sets: american, british" in said
    assert "mine" in (mine / "recipe.yaml").read_text(encoding="utf-8")
    helped = subprocess.run(["bash", mine / "run.sh", "--help"], capture_output=True, text=True, check=True)
    assert "Stages:" in helped.stdout and str(mine) in helped.stdout


def test_a_folder_is_not_written_over(mine):
    with pytest.raises(UserError, match="exists already"):
        new.run(mine)


def test_the_recipes_of_this_repository_are_found_to_keep_it(capsys):
    check.run(load(ROOT / "egs" / "an4"), None)
    assert "an4 keeps the contract" in capsys.readouterr().out


BREAKS = [
    ("local/prepare.py", "def prepare(", "def prepared(", "has no function prepare"),
    ("local/prepare.py", "def prepare(corpus_dir: Path, report: Report)", "def prepare(corpus_dir)", "called with"),
    ("local/prepare.py", "return corpus.cuts()", "return [1]", "does not return a dict"),
    ("local/prepare.py", "return corpus.cuts()", "return {'train': corpus.cuts()['train']}", "names the split 'dev'"),
    ("local/prepare.py", "fields = line", "fields = 1 / 0 or line", "ZeroDivisionError: division by zero"),
    ("local/prepare.py", "speaker, condition", "None, condition", "has no speaker"),
    ("local/prepare.py", "stem, text,", "stem, '!?',", "no utterance of train can be used"),
    ("local/prepare.py", "raise DataError", "return {}  #", "returns {}; raise"),
    ("local/prepare.py", "fields = line", "fields == = line", "SyntaxError"),
    ("local/prepare.py", "corpus = Corpus", "corpus_dir / 'x' / 1  #", "TypeError"),
    ("local/prepare.py", 'read_lines(table)', 'read_lines(table)[:2]', "names the split"),
    ("local/toy.py", "np.random.default_rng(seed)", "np.random.default_rng()", "two runs with one seed differ"),
    ("local/toy.py", "        return\n", "        pass\n", "was written over"),
    ("recipe.yaml", "language: english", "language: klingon", "klingon"),
    ("recipe.yaml", "test: [test]", "test: [test, tset]", "names the split 'tset'"),
    ("recipe.yaml", "unit: word", "unit: word\noptions: {chanel: 4}", "no option 'chanel'"),
    ("recipe.yaml", "conf: small", "conf: huge", "no training configuration 'huge'"),
    ("run.sh", "ds2 score", "ds2 scores", "ds2 scores"),
]


@pytest.mark.parametrize(("file", "old", "bad", "words"), BREAKS, ids=[words for *_, words in BREAKS])
def test_each_break_is_named(mine, file, old, bad, words):
    text = (mine / file).read_text(encoding="utf-8")
    assert old in text
    (mine / file).write_text(text.replace(old, bad, 1), encoding="utf-8")
    assert words in wrong(mine)


def test_a_copy_of_the_corpus_serves_where_there_is_no_toy(mine, tmp_path, capsys):
    load(mine, "toy").local("toy").toy(tmp_path / "corpus", sizes={"train": 4, "dev": 2, "test": 2})
    (mine / "local" / "toy.py").unlink()
    assert "--corpus-dir" in wrong(mine)
    check.run(load(mine), tmp_path / "corpus")
    assert "mine keeps the contract" in capsys.readouterr().out


def test_it_is_a_verb(mine):
    run = [sys.executable, "-c", "import sys; from ds2toolkit.cli import main; sys.argv[0] = 'ds2'; main()"]
    (mine / "recipe.yaml").write_text("title: x\n", encoding="utf-8")
    found = subprocess.run([*run, "check", "--recipe", mine], capture_output=True, text=True, check=False)
    assert found.returncode == 2 and "Traceback" not in found.stderr
