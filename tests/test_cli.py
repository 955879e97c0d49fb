"""The command line: help that helps, mistakes in one or two lines with exit code 2, the next command named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import heed_ctrl_c

ROOT = Path(__file__).parent.parent
DS2 = [sys.executable, "-c", "import sys; from ds2toolkit.cli import main; sys.argv[0] = 'ds2'; main()"]


def ds2(*arguments, cwd=ROOT):
    command = [*DS2, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, preexec_fn=heed_ctrl_c)


def new_recipe(folder: Path, extra: str = "") -> Path:
    (folder / "local").mkdir(parents=True)
    (folder / "conf").mkdir()
    (folder / "recipe.yaml").write_text(
        "title: a test\nsplits: {train: [train], dev: [dev], test: [test]}\nconf: tiny\n" + extra, encoding="utf-8"
    )
    (folder / "local" / "prepare.py").write_text("def prepare(corpus_dir, report):\n    return {}\n", encoding="utf-8")
    (folder / "conf" / "tiny.yaml").write_text("num_epochs: 1\n", encoding="utf-8")
    return folder


def one_clear_line(run, *words):
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.strip().splitlines()) <= 3
    for word in words:
        assert word in run.stderr


def test_help_lists_the_verbs_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom ds2toolkit.cli import main\nsys.argv = ['ds2', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'lhotse', 'numpy', 'scipy', 'matplotlib', 'kaldifst'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for verb in "download prepare features lang lm graph train decode score noise transcribe new check doctor list".split():
        assert re.search(rf"^ +{verb}\b", run.stdout, re.MULTILINE), verb


@pytest.mark.parametrize("verb", ["train", "decode", "transcribe"])
def test_every_verb_helps(verb):
    run = ds2(verb, "--help")
    assert run.returncode == 0 and "--" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bake"], ["bake", "prepare"]),
        (["train", "--recipe", "."], ["recipe.yaml", "--recipe DIR"]),
        (["prepare", "--nj", "-1", "--recipe", "egs/an4"], ["--nj -1"]),
        (["train", "--recipe", "egs/an4", "--variant", "huge"], ["no variant 'huge'", "toy"]),
        (["train", "--recipe", "egs/an4", "--conf", "nosuch"], ["no training configuration 'nosuch'"]),
        (["train", "--recipe", "egs/an4", "--set", "model.rnn_sise=3"], ["rnn_sise", "did you mean 'rnn_size'"]),
        (["transcribe", "nosuch.wav", "--model", "nosuch.pt"], ["nosuch.pt does not exist"]),
        (["list", "docs"], ["no recipe below"]),
    ],
)
def test_mistakes_are_named(arguments, words):
    run = ds2(*arguments)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert all(word in run.stderr for word in words), run.stderr


def test_an_unknown_option_is_refused():
    run = ds2("train", "--epochs", "3")
    assert run.returncode == 2 and "--epochs" in run.stderr


@pytest.mark.parametrize(
    ("verb", "writer"),
    [
        ("prepare", "download"),
        ("features", "prepare"),
        ("lang", "prepare"),
        ("lm", "prepare"),
        ("graph", "lang"),
        ("train", "lang"),
        ("decode", "train"),
        ("score", "decode"),
    ],
)
def test_a_stage_before_its_turn_names_the_one_that_feeds_it(tmp_path, verb, writer):
    recipe = new_recipe(tmp_path / "mine")
    one_clear_line(ds2(verb, cwd=recipe), f"ds2: {verb} needs", writer, f"Run: ds2 {writer} --recipe")


def test_the_stage_of_run_sh_is_named(tmp_path):
    recipe = new_recipe(tmp_path / "mine")
    (recipe / "run.sh").write_text('stage 6 "Train"   ds2 train\n', encoding="utf-8")
    one_clear_line(ds2("decode", "--recipe", recipe), "stage 6 (train) writes", "run.sh --stage 6")


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ("langauge: english\n", "did you mean 'language'"),
        ("features: {kind: spectogram}\n", "features.kind"),
        ("vocabulary: [\n", "not YAML"),
    ],
)
def test_a_recipe_yaml_with_a_mistake(tmp_path, extra, word):
    one_clear_line(ds2("lang", "--recipe", new_recipe(tmp_path / "mine", extra)), "recipe.yaml", word)


def test_a_corpus_that_nobody_can_download(tmp_path):
    one_clear_line(ds2("download", "--recipe", new_recipe(tmp_path / "mine")), "--corpus-dir")


def test_a_wrong_corpus_folder(tmp_path):
    recipe = new_recipe(tmp_path / "mine")
    one_clear_line(ds2("download", "--corpus-dir", tmp_path / "nosuch", "--recipe", recipe), "is not a folder")


def test_ctrl_c_is_130(tmp_path):
    recipe = new_recipe(tmp_path / "mine")
    (recipe / "local" / "prepare.py").write_text(
        "import os, signal\ndef download(corpus_dir, splits):\n    os.kill(os.getpid(), signal.SIGINT)\n", encoding="utf-8"
    )
    run = ds2("download", "--recipe", recipe)
    assert run.returncode == 130 and "Traceback" not in run.stderr and "interrupted" in run.stderr


def test_a_full_disk_is_named(tmp_path):
    recipe = new_recipe(tmp_path / "mine")
    (recipe / "local" / "prepare.py").write_text(
        "def download(corpus_dir, splits):\n    with open('/dev/full', 'w') as full:\n        full.write('x' * 10000)\n",
        encoding="utf-8",
    )
    one_clear_line(ds2("download", "--recipe", recipe), "No space left")


def test_a_bug_keeps_its_traceback(tmp_path):
    recipe = new_recipe(tmp_path / "mine")
    (recipe / "local" / "prepare.py").write_text("def download(corpus_dir, splits):\n    1 / 0\n", encoding="utf-8")
    run = ds2("download", "--recipe", recipe)
    assert run.returncode == 1 and "ZeroDivisionError" in run.stderr


def test_doctor_and_list_run():
    assert "torch" in ds2("doctor").stdout
    listed = ds2("list", "egs")
    assert listed.returncode == 0 and "egs/librispeech" in listed.stdout and "egs/an4" in listed.stdout


def environment(path: Path = Path(sys.executable).parent) -> dict[str, str]:
    return {**os.environ, "PATH": f"{path}:{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run_sh(*arguments, recipe="librispeech", path=Path(sys.executable).parent):
    command = ["bash", f"egs/{recipe}/run.sh", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(path), capture_output=True, text=True, check=False)


RECIPES = sorted(path.parent.name for path in ROOT.glob("egs/*/run.sh"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_run_sh_help_lists_its_stages(recipe):
    run = run_sh("--help", recipe=recipe)
    assert run.returncode == 0
    stages = [line.split() for line in run.stdout.splitlines() if "  ds2 " in line]
    assert [int(number) for number, *_ in stages] == list(range(len(stages)))
    verbs = [stage[stage.index("ds2") + 1] for stage in stages]
    assert [verb for verb in verbs if verb != "noise"] == "download prepare features lang lm graph train tune decode score".split()


def test_run_sh_gives_each_verb_the_options_it_takes(tmp_path):
    """A stand-in for ds2 prints what it is called with."""
    ds2 = tmp_path / "ds2"
    ds2.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    ds2.chmod(0o755)
    options = "--corpus thchs30 --toy --size 4 --nj 1 --conf tiny --exp mine --option corpus=thchs30 --corpus-dir docs".split()
    options += ["--set", "seed=1", "--set", "num_epochs=2"]
    run = run_sh(*options, recipe="mandarin", path=tmp_path)
    recipe = f"--recipe {ROOT}/egs/mandarin --variant thchs30-toy"
    corpus = f"--corpus-dir {ROOT}/docs --option corpus=thchs30"
    assert run.stdout.splitlines() == [
        f"download {recipe} {corpus} --size 4", f"prepare {recipe} {corpus} --nj 1", f"features {recipe} --nj 1", f"lang {recipe}",
        f"lm {recipe}", f"graph {recipe}", f"train {recipe} --conf tiny --set seed=1 --set num_epochs=2 --exp mine", f"tune {recipe} --nj 1 --exp mine",
        f"decode {recipe} --nj 1 --exp mine", f"score {recipe} --exp mine",
    ]  # fmt: skip


def test_run_sh_with_a_model_only_tests(tmp_path):
    ds2 = tmp_path / "ds2"
    ds2.write_text('#!/bin/sh\necho "$1 $4 $5"\n', encoding="utf-8")
    ds2.chmod(0o755)
    model = f"--model {ROOT}/egs/template/local"
    for folder in ("../template/local", "egs/template/local"):
        run = run_sh("--model", folder, recipe="voxforge", path=tmp_path)
        assert run.stdout.splitlines() == ["download  ", "prepare  ", f"decode {model}", f"score {model}"]
    assert "not needed with --model" in run.stderr
    run = run_sh("--model", "../nosuch", recipe="voxforge", path=tmp_path)
    assert run.returncode == 2 and "../nosuch' does not exist" in run.stderr


def test_a_folder_without_run_sh_is_run_by_its_name(tmp_path):
    recipe = new_recipe(tmp_path / "elsewhere" / "mine")
    run = subprocess.run(["bash", "egs/run.sh", "--recipe", recipe], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert run.returncode == 2 and "--corpus-dir" in run.stderr and "ds2 download --recipe" in run.stderr
    run = subprocess.run(["bash", "egs/run.sh"], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert run.returncode == 2 and "--recipe DIR" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--staeg", "3"], "--stage"),
        (["--stage"], "needs a value"),
        (["--stage", "three"], "whole number"),
        (["--corpus-dir", "/nosuch"], "not a folder"),
    ],
)
def test_run_sh_refuses_what_it_does_not_know(arguments, word):
    run = run_sh(*arguments)
    assert run.returncode == 2 and word in run.stderr


def test_run_sh_stops_where_it_is_told():
    run = run_sh("--stage", "10")
    assert run.returncode == 0 and not run.stdout
