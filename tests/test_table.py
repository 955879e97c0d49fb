"""`ds2 table`: the paper's figures in full, measured cells where there are any, rows in small that keep their ratios."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from ds2toolkit import cli
from ds2toolkit.config import ModelConfig
from ds2toolkit.errors import ConfigError, DataError, UserError
from ds2toolkit.model.size import num_parameters, outline, solved
from ds2toolkit.recipe import load, training
from ds2toolkit.score import paper_tables, reported
from ds2toolkit.score.paper_tables import BENCHMARKS, CONFIGURATIONS, rows
from ds2toolkit.verbs import table
from ds2toolkit.verbs.table import commands, experiments, run, score_file, settled, smaller

ROOT = Path(__file__).parent.parent
SIZES = {"train-clean-100": 12, "dev-clean": 4, "test-clean": 4, "test-other": 4}
ROWS = [row for name in CONFIGURATIONS for row in rows(name)]
NUM_BINS, NUM_TOKENS = 161, 29


def copy_of(egs: Path, name: str) -> Path:
    folder = egs / name
    folder.mkdir(parents=True)
    for part in ("local", "conf"):
        shutil.copytree(ROOT / "egs" / name / part, folder / part)
    for part in ("recipe.yaml", "run.sh"):
        shutil.copy(ROOT / "egs" / name / part, folder / part)
    return folder


@pytest.fixture(scope="module")
def egs(tmp_path_factory) -> Path:
    """egs/librispeech with a few toy utterances, up to the tokens; egs/wsj without anything."""
    egs = tmp_path_factory.mktemp("table") / "egs"
    folder = copy_of(egs, "librispeech")
    copy_of(egs, "wsj")
    (folder / "toy" / "corpus").mkdir(parents=True)
    load(folder, "toy").local("toy").toy(folder / "toy" / "corpus", sizes=SIZES)
    for verb in ("prepare", "features", "lang"):
        cli.call([verb, "--recipe", str(folder), "--variant", "toy"])
    return egs


@pytest.fixture
def librispeech(egs, tmp_path):
    """A copy without results."""
    shutil.copytree(egs, tmp_path / "egs", symlinks=True)
    return tmp_path / "egs" / "librispeech"


def score(path: Path, set="test-clean", condition="all", method="greedy", percent=12.3456, interval=(10.0, 15.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    one = {"set": set, "condition": condition, "method": method, "num_utterances": 4, "wer_percent": percent}
    one |= {"wer_interval_percent": interval and list(interval), "wer_counts": dict(ref=8, cor=7, sub=1, ins=0, dele=0)}
    scores = json.loads(path.read_text())["scores"] if path.exists() else []
    path.write_text(json.dumps({"unit": "word", "scores": [*scores, one]}), encoding="utf-8")


def printed(capsys, folder, *tables, variant=None, toy=False, train=False, as_list=False) -> str:
    run(folder, variant, list(tables), toy, train, as_list)
    return capsys.readouterr().out


def line(text: str, start: str) -> str:
    return next(one for one in text.splitlines() if one.startswith(start))


def test_every_row_of_the_tables_is_a_configuration_and_each_figure_is_printed(capsys, librispeech):
    assert len({row.conf for row in ROWS}) == 37
    text = printed(capsys, librispeech, *CONFIGURATIONS)
    for row in ROWS:
        training(row.conf, [])
        shown = next(one for one in text.splitlines() if f" {row.conf} " in one)
        assert shown.startswith(row.name) and all(f"{value:.2f}" in shown for value in row.reported.values())
    assert "37 rows" not in text and "8 rows are not measured; --run trains them, --list prints" in text


def test_figures_from_memory_are_not_called_reported(capsys, librispeech):
    text = printed(capsys, librispeech, "norm", "depth")
    norm, depth = text.split("depth: ")
    assert "to be checked" in norm and "reported" not in norm.lower().replace("to be checked", "")
    assert "regular dev, reported" in depth and "to be checked" not in depth.lower()


def test_the_benchmarks_are_printed_in_full_without_any_measurement(capsys, librispeech):
    text = printed(capsys, librispeech.parent, BENCHMARKS)
    assert len(reported.table(BENCHMARKS)) == 35
    for one in reported.table(BENCHMARKS):
        assert f"{one.value:.2f}" in line(text, one.row)
    assert line(text, "Baidu test").split() == ["Baidu", "test", "24.01", "13.59", "–"]
    assert line(text, "WSJ eval'92").split()[2:] == ["4.94", "3.60", "5.03"]
    assert text == printed(capsys, librispeech, BENCHMARKS), "from inside a recipe the others are found, too"


def test_benchmarks_fill_the_cells_of_their_own_test_sets(capsys, librispeech):
    exp = librispeech / "exp" / "ds2" / "score" / "score.json"
    score(exp)
    score(exp, method="k2", percent=7.5, interval=None)
    score(exp, set="test-other", condition="female")
    score(librispeech.parent / "wsj" / "exp" / "big" / "score" / "score.json", set="eval93", percent=1.25)
    text = printed(capsys, librispeech, BENCHMARKS)
    assert text.splitlines()[1].split("  ")[-1].strip() == "ds2, measured"
    assert line(text, "LibriSpeech test-clean").split()[2:] == ["7.89", "5.33", "5.83", "7.50", "k2"]
    assert line(text, "LibriSpeech test-other").split()[2:] == ["21.74", "13.25", "12.69"], "a condition is not the set"
    assert line(text, "WSJ eval'93").split()[2:] == ["6.94", "4.98", "8.08", "1.25", "[10.00,", "15.00]", "greedy"]
    assert "7.50" not in printed(capsys, librispeech, BENCHMARKS, toy=True), "toy speech is no benchmark, nor the reverse"


def test_benchmarks_are_filled_from_kept_results_on_a_fresh_clone(capsys, librispeech):
    path = librispeech / "results" / "ds2.json"
    score(path)
    path.write_text(json.dumps({"rows": [], "trained": None, "score": json.loads(path.read_text())}), encoding="utf-8")
    assert "12.35 [10.00, 15.00] greedy" in line(printed(capsys, librispeech, BENCHMARKS), "LibriSpeech test-clean")


def test_configurations_are_filled_by_greedy_and_rows_that_are_the_same_share(capsys, librispeech):
    exp = librispeech / "exp" / "paper-depth-7x5-rnn" / "score" / "score.json"
    score(exp)
    score(exp, method="k2", percent=7.5)
    text = printed(capsys, librispeech, "depth", "norm")
    assert line(text, "7 layers, 5 recurrent, simple RNN").endswith("9.78  12.35 [10.00, 15.00]")
    assert line(text, "7 layers, 5 recurrent, with ").endswith("9.78  12.35 [10.00, 15.00]")
    assert line(text, "7 layers, 5 recurrent, without").endswith("10.77")
    assert "12.35" not in printed(capsys, librispeech, "depth", toy=True), "a full row is not one of the toy table"


def test_a_damaged_score_file_is_named(librispeech):
    path = librispeech / "exp" / "paper-conv-1x1d" / "score" / "score.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="score.json is damaged"):
        run(librispeech, None, ["conv"], False, False, False)


def test_thirty_one_trainings_fill_all_the_tables(librispeech):
    named = experiments(load(librispeech), toy=False)
    assert len(named) == 37 and len(set(named.values())) == 31
    assert named["paper/sortagrad-on-norm-on"] == named["paper/norm-on-9x7"] == "paper-depth-9x7-rnn"
    assert named["paper/sortagrad-on-norm-off"] == "paper-norm-off-9x7"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.conf)
def test_rows_in_small_differ_from_each_other_as_the_rows_do(row):
    full, small = training(row.conf, []), training(row.conf, smaller(settled(load(ROOT / "egs" / "librispeech"), row.conf)))
    assert small.model.params == full.model.params / table.PARAMS_DIVISOR
    widths = [config.model.conv.channels[0] // config.model.conv.channels[-1] for config in (full, small)]
    assert widths[0] == widths[1]
    for name in ("cell", "num_rnn_layers", "num_dense_layers", "batch_norm", "bidirectional"):
        assert getattr(small.model, name) == getattr(full.model, name)
    assert (small.model.conv.kernels, small.model.conv.strides) == (full.model.conv.kernels, full.model.conv.strides)
    assert (small.train_fraction, small.batches.sortagrad) == (full.train_fraction, full.batches.sortagrad)
    assert small.optimiser.kind == "adamw" and small.num_epochs < full.num_epochs


@pytest.mark.parametrize("conf", ["paper/conv-3x2d", "paper/conv-1x1d", "paper/depth-9x7-gru", "paper/size-18m-gru"])
def test_networks_in_small_have_the_parameters_asked_for_mostly_in_recurrent_layers(conf):
    model: ModelConfig = training(conf, smaller(settled(load(ROOT / "egs" / "librispeech"), conf))).model
    network = outline(solved(model, NUM_BINS, NUM_TOKENS), NUM_BINS, NUM_TOKENS)
    assert abs(num_parameters(network) / model.params - 1) < 0.1
    assert num_parameters(network.conv) < 0.4 * num_parameters(network)


def test_the_list_is_of_commands_that_make_the_same_experiment(capsys, librispeech):
    score(librispeech / "toy" / "exp" / "paper-toy-sortagrad-off-norm-off" / "score" / "score.json")
    lines = printed(capsys, librispeech, "sortagrad", toy=True, as_list=True).splitlines()
    assert len(lines) == 3, "what is there is not listed"
    train, decode, score_it = (shlex.split(part) for part in lines[0].split(" && "))
    assert [one[:2] for one in (train, decode, score_it)] == [["ds2", "train"], ["ds2", "decode"], ["ds2", "score"]]
    parsed = cli.parser().parse_args(train[1:]).train
    config = load(librispeech, parsed.variant).training(parsed.conf, parsed.settings)
    assert config.model.params == 38e6 / 64 and not config.batches.sortagrad and config.precision == "bf16"
    assert parsed.exp == "paper-toy-sortagrad-off-norm-on" and parsed.variant == "toy"


def test_run_trains_decodes_and_scores_what_is_missing_and_only_that(capfd, librispeech, monkeypatch):
    monkeypatch.setattr(paper_tables, "rows", lambda name: [row for row in rows(name) if row.conf == "paper/data-100"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = load(librispeech, "toy")
    run(librispeech, None, ["data"], toy=True, train=True, as_list=False)
    text = capfd.readouterr().out
    assert re.search(r"paper/data-100 +8.46 +13.59 +\d+.\d\d.* +\d+.\d\d", text) and "not measured" not in text
    assert "test-clean, measured" in text and "toy speech, synthetic" in text and "1/64 of the parameters" in text
    path = score_file(recipe, "paper-toy-data-100")
    before = os.stat(path).st_mtime_ns
    run(librispeech, None, ["data"], toy=True, train=True, as_list=False)
    assert os.stat(path).st_mtime_ns == before and "    ds2 train" not in capfd.readouterr().out


def test_a_row_that_fails_is_named_and_does_not_stop_the_others(capfd, librispeech, monkeypatch):
    recipe = load(librispeech, "toy")
    monkeypatch.setattr(table, "commands", lambda recipe, name, toy: [["ds2", "nonsense" if name == "bad" else "list"]])
    with pytest.raises(UserError, match="1 of 2 failed: bad.\nRun the same command"):
        table.fill(recipe, ["bad", "good"], toy=True)
    assert "2 of 2: good" in capfd.readouterr().out


def test_what_is_missing_names_the_next_command(librispeech):
    with pytest.raises(UserError, match=r"features\) writes.\nRun: bash \S+run.sh --stage 2"):
        run(librispeech, None, ["depth"], toy=False, train=True, as_list=False)
    with pytest.raises(UserError, match=r"not configurations.\nRun: bash egs/RECIPE/run.sh"):
        run(librispeech, None, ["depth", BENCHMARKS], toy=False, train=False, as_list=True)
    with pytest.raises(UserError, match="no recipe folder"):
        run(librispeech.parent, None, ["depth"], toy=False, train=False, as_list=False)
    with pytest.raises(ConfigError, match="no variant 'mini-toy'"):
        run(librispeech, "mini", ["depth"], toy=True, train=False, as_list=False)


def test_the_commands_of_a_full_row_have_no_settings(librispeech):
    train, *_ = commands(load(librispeech), "paper-depth-5x1-gru", toy=False)
    assert train[2:] == ["--recipe", str(librispeech), "--exp", "paper-depth-5x1-gru", "--conf", "paper/depth-5x1-gru"]
