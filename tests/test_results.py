"""`ds2 results`: small score files beside a recipe, RESULTS.md that is what they say, and none that is out of date."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import Recipe, find, load, training
from ds2toolkit.score import hypotheses, report, results
from ds2toolkit.score.environment import environment
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.score.paper_tables import preference
from ds2toolkit.score.results import render
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.verbs.results import run

ROOT = Path(__file__).parent.parent
RECIPE = """\
title: "Forty readers"
splits: {train: [train], dev: [dev], test: [test]}
conf: tiny
variants:
  toy: {conf: toy}
"""
ORIGIN = {
    "recipe": "mine", "command": "ds2 score --recipe egs/mine", "commit": "1f42ee2", "date": "2016-05-01T12:00:00+00:00",
    "seed": 7, "cpu": "A fast one", "cores": 2, "torch": "2.4.0", "version": None, "training": {"seed": 7},
}  # fmt: skip
TEXTS = [("u1", "the cat sat", "the bat sat", "ann"), ("u2", "a secret", "a secret", "bob"), ("u3", "dog", "", "bob")]


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return load(folder)


def scored(recipe: Recipe, name: str, origin=None, methods=("greedy",)) -> Path:
    """An experiment whose hypotheses were scored."""
    folder = recipe.experiment(name)
    hyps = [Hypothesis(key, "test", "quiet", speaker, ref, hyp, 1.0) for key, ref, hyp, speaker in TEXTS]
    files = {method: {"test": folder / "decode" / method / "hyps-test.jsonl"} for method in methods}
    for one in files.values():
        hypotheses.write(one["test"], hyps)
    report.score(files, folder / "score", "word", origin)
    return folder


def trained(recipe: Recipe, name: str, conf: str, settings: list[str]) -> Path:
    """The same with a checkpoint and a history."""
    folder = scored(recipe, name, ORIGIN)
    config = training(conf, settings, recipe.folder / "conf")
    recogniser = Recogniser.new(config, Vocabulary.english_characters(), FeatureConfig(), None, "english", "word")
    checkpoint.save(folder / "best.pt", recogniser, {})
    lines = [json.dumps({"epoch": epoch, "seconds": 600.0 * epoch}) + "\n" for epoch in (1, 2)]
    (folder / "history.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def results_of(recipe: Recipe, exps=None) -> str:
    run(recipe, exps)
    return (recipe.folder / "RESULTS.md").read_text(encoding="utf-8")


def test_results_say_what_was_trained_where_and_how_good_it_is(recipe):
    trained(recipe, "ds2", "tiny", [])
    text = results_of(recipe)
    assert "# Results: Forty readers\n" in text and "\n## ds2\n" in text
    assert "* network: 1 conv 2d + 1 rnn + 1 dense, width 16; " in text
    assert "* configuration: `tiny`; 2 epochs in 20 min\n" in text
    assert "* scored: 2016-05-01T12:00:00+00:00, commit 1f42ee2, seed 7\n" in text
    assert "* on: A fast one, cores 2, torch 2.4.0\n" in text
    assert "```\nds2 train --exp ds2 --conf tiny\nds2 tune --exp ds2\nds2 decode --exp ds2\nds2 score --recipe egs/mine\n```" in text
    table = report.format_table(results.table(json.loads((recipe.experiment("ds2") / "score" / "score.json").read_text())))
    assert f"```\n{table}\n```" in text and "33.33" in table
    assert "Toy" not in text and "Reported" not in text


def test_settings_over_the_configuration_are_in_the_command(recipe):
    trained(recipe, "wide", "tiny", ["model.rnn_size=24", "optimiser.learning_rate=0.01"])
    text = results_of(recipe)
    assert "ds2 train --exp wide --conf tiny --set 'model.rnn_size=24' --set 'optimiser.learning_rate=0.01'" in text
    assert "`tiny` with `model.rnn_size=24`, `optimiser.learning_rate=0.01`; 2 epochs" in text


def test_a_configuration_is_known_by_its_settings_and_its_number_of_parameters(recipe):
    (recipe.folder / "conf").mkdir()
    for name, params in (("a", "3e5"), ("b", "2e5"), ("c", "1e5")):
        text = f"base: paper/size-18m-gru\nmodel: {{params: {params}, conv: {{channels: [4]}}}}\n"
        (recipe.folder / "conf" / f"{name}.yaml").write_text(text, encoding="utf-8")
    trained(recipe, "ds2", "b", [])
    trained(recipe, "other", "small", [])
    text = results_of(recipe)
    assert "configuration: `b`; 2 epochs" in text and "configuration: `small`; 2 epochs" in text


def test_nothing_of_what_was_said_is_kept(recipe):
    trained(recipe, "ds2", "tiny", [])
    run(recipe, None)
    kept = (recipe.folder / "results" / "ds2.json").read_text(encoding="utf-8")
    assert "secret" not in kept and "ann" not in kept and len(kept) < 10_000
    assert "training" not in json.loads(kept)["score"]["origin"]


def test_what_is_kept_comes_back(recipe):
    folder = scored(recipe, "ds2", methods=("greedy", "k2"))
    run(recipe, None)
    (found,) = results.load(recipe.folder / "results")
    assert found.trained is None and (found.experiment, found.variant) == ("ds2", None)
    whole = json.loads((folder / "score" / "score.json").read_text(encoding="utf-8"))
    assert report.to_dict(results.table(found.score)) == {key: whole[key] for key in ("unit", "scores")}


def test_toy_results_have_a_section_of_their_own(recipe):
    scored(recipe, "ds2")
    scored(load(recipe.folder, "toy"), "ds2")
    text = results_of(recipe)
    real, toy = text.split("\n## Toy speech\n")
    assert "\n## ds2\n" in real and "toy" not in real
    assert "espeak-ng" in toy and "\n### toy/ds2\n" in toy and "ds2 score --variant toy --exp ds2" in toy
    assert (recipe.folder / "results" / "toy" / "ds2.json").exists()


def test_rows_of_the_papers_tables_are_shown_as_tables(recipe):
    scored(recipe, "paper-depth-7x5-rnn")
    scored(load(recipe.folder, "toy"), "paper-toy-sortagrad-off-norm-on")
    real, toy = results_of(recipe).split("\n## Toy speech\n")
    assert "## The paper's tables" in real and "ds2 table depth --run" in real and "ds2 table norm --run" in real
    assert real.count("33.33") == 2 and "paper-depth" not in real and "conv-1x1d" not in real
    assert "### toy/The paper's tables" in toy and "ds2 table sortagrad --toy --run" in toy and toy.count("33.33") == 1
    assert "1/64 of the parameters" in toy and "1/64" not in real


def test_old_score_files_lack_an_origin_and_it_is_left_out(recipe):
    scored(recipe, "ds2")
    text = results_of(recipe)
    assert "* " not in text and "None" not in text and "```\nds2 score --exp ds2\n```" in text


def test_the_model_of_another_recipe_is_named(recipe):
    scored(recipe, "librispeech-ds2", ORIGIN | {"model": "librispeech-ds2"})
    assert "* model: librispeech-ds2\n" in results_of(recipe)


def test_results_do_not_depend_on_when_and_where_they_are_written(recipe, monkeypatch, tmp_path):
    trained(recipe, "ds2", "tiny", [])
    first = results_of(recipe)
    monkeypatch.chdir(tmp_path)
    assert results_of(recipe) == first


def test_experiments_are_chosen_and_those_kept_stay(recipe):
    for name in ("one", "two", "trial"):
        scored(recipe, name)
    text = results_of(recipe, ["one", "two"])
    assert "## one" in text and "## two" in text and "trial" not in text
    assert "## one" in results_of(recipe, ["trial"]), "what was kept before stays"


def test_published_figures_stand_in_the_file_of_their_recipe():
    text = render("an4", "AN4", [])
    assert "## Reported by others" in text and "| AN4 test | WER | deepspeech.pytorch V3 | 9.57 |" in text


def test_what_is_missing_names_the_next_command(recipe):
    with pytest.raises(UserError, match=r"results needs \S+score.json, which `ds2 score` writes.\nRun: ds2 score --recipe"):
        run(recipe, None)
    scored(recipe, "ds2")
    with pytest.raises(UserError, match=r"results of other needs \S+exp/other/score/score.json"):
        run(recipe, ["ds2", "other"])


@pytest.mark.parametrize("damage", ["{", "{}", '{"rows": [], "trained": null, "score": {"unit": "word", "scores": [{}]}}', "[]"])
def test_a_damaged_file_is_named(recipe, damage):
    scored(recipe, "ds2")
    (recipe.folder / "results").mkdir()
    (recipe.folder / "results" / "old.json").write_text(damage, encoding="utf-8")
    with pytest.raises(DataError, match="old.json is damaged"):
        run(recipe, None)
    assert not (recipe.folder / "RESULTS.md").exists()


def test_a_method_with_a_language_model_speaks_for_an_experiment():
    assert sorted(["greedy", "zeta", "kaldi", "k2", "beam"], key=preference) == ["beam", "k2", "kaldi", "zeta", "greedy"]


def test_the_machine_is_named():
    found = environment()
    assert found["cpu"] and found["cores"] >= 1 and found["torch"].startswith("2.")


@pytest.mark.parametrize("folder", find(ROOT / "egs"), ids=lambda folder: folder.name)
def test_committed_results_are_those_of_the_score_files_beside_them(folder):
    kept, path = results.load(folder / "results"), folder / "RESULTS.md"
    assert path.exists() == bool(kept), f"run: ds2 results --recipe egs/{folder.name}"
    if kept:
        wanted = render(folder.name, load(folder).config.title, kept).encode()
        assert path.read_bytes() == wanted, f"run: ds2 results --recipe egs/{folder.name}"


def test_results_out_of_date_are_noticed(recipe):
    scored(recipe, "ds2")
    before = results_of(recipe)
    path = recipe.folder / "results" / "ds2.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["score"]["scores"][0]["wer_counts"]["sub"] += 1
    path.write_text(json.dumps(raw), encoding="utf-8")
    (found,) = results.load(recipe.folder / "results")
    assert render(recipe.name, recipe.config.title, [found]) != before
    assert render(recipe.name, recipe.config.title, [replace(found, experiment="other")]) != before
