"""Tuning on the dev set: grids, plateaus, the weight of a graph's scores, and what `decode` makes of the choice."""

import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from test_beam import LETTERS, LINES, Problem, random_log_probs, said
from test_cli import new_recipe

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import SearchConfig, TrainConfig, from_dict
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.decode import stored, tuned
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.k2_worker import k2_available
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.searching import num_processes, search_all
from ds2toolkit.decode.tune import AXES, Surface, tune
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import load
from ds2toolkit.score import hypotheses
from ds2toolkit.score.align import count_errors
from ds2toolkit.text.arpa import BOS, EOS
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.verbs import decode, graph, lm
from ds2toolkit.verbs import tune as tune_verb

SMALL = {"model": {"conv": {"channels": [2], "kernels": [[5, 3]], "strides": [[8, 2]]}, "num_rnn_layers": 1, "rnn_size": 4}}
NUM_UTTERANCES = 40


def bowl(centre: dict[str, float], width: dict[str, float]):
    """Errors of utterances that grow with the distance from a centre, flat within a width of it; and what was asked."""
    asked = []

    def errors(points):
        asked.extend(points)
        away = [max(0.0, max(abs(point[name] - centre[name]) / width[name] for name in centre) - 1) for point in points]
        return np.array([np.full(NUM_UTTERANCES, math.ceil(3 * distance)) for distance in away])

    return errors, asked


@pytest.mark.parametrize(
    ("start", "chosen"),
    [((1.6, 2.1), (1.5, 2.0)), ((0.0, 0.0), (0.5, 1.0)), ((9.0, 2.5), (2.0, 2.5)), ((1.0, -7.0), (1.0, 1.0))],
)
def test_of_a_plateau_what_is_nearest_to_the_settings_before_is_chosen(start, chosen):
    errors, _ = bowl({"alpha": 1.25, "beta": 2.0}, {"alpha": 0.76, "beta": 1.1})
    choice = tune(["alpha", "beta"], errors, dict(zip(("alpha", "beta"), start, strict=True)))
    assert tuple(choice.surface.values(choice.chosen).values()) == chosen
    kept = [choice.surface.values(point) for point in choice.fine.plateau()]
    assert {point["alpha"] for point in kept} == {0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0}
    assert {point["beta"] for point in kept} == {1.0, 1.5, 2.0, 2.5, 3.0}


def test_the_grid_follows_the_best_beyond_its_edge_and_asks_nothing_twice():
    errors, asked = bowl({"alpha": 4.0, "beta": 6.0}, {"alpha": 0.3, "beta": 0.6})
    choice = tune(["alpha", "beta"], errors, {"alpha": 0.5, "beta": 0.5})
    assert choice.surface.values(choice.chosen) == {"alpha": 3.75, "beta": 5.5}
    assert len({tuple(point.values()) for point in asked}) == len(asked)


def test_where_all_is_as_good_the_grid_is_not_widened_for_long():
    errors, asked = bowl({"alpha": 1.0, "beta": 1.0}, {"alpha": 100.0, "beta": 100.0})
    choice = tune(["alpha", "beta"], errors, {"alpha": 0.5, "beta": 0.5})
    assert choice.surface.values(choice.chosen) == {"alpha": 0.5, "beta": 0.5}
    assert max(point["alpha"] for point in asked) <= 4.0


def test_a_scale_is_found_on_an_axis_of_its_own():
    def errors(points):
        return np.array([np.full(5, round(20 * abs(math.log2(point["lm_scale"] / 0.3)))) for point in points])

    choice = tune(["lm_scale"], errors, {"lm_scale": 1.0})
    assert choice.surface.values(choice.chosen) == {"lm_scale": 0.297}


def surface(*errors: list[int]) -> Surface:
    return Surface((AXES["lm_scale"],), {(step,): np.array(one) for step, one in enumerate(errors)})


def test_a_plateau_ends_one_standard_error_of_the_paired_difference_from_the_best():
    same_ones_are_hard = [9, 9, 0, 0, 0, 0, 0, 0]
    one_more = [9, 9, 1, 0, 0, 0, 0, 0]
    one_more_each = [10, 10, 1, 1, 1, 1, 1, 1]
    half_of_them = [9, 9, 1, 1, 1, 1, 0, 0]
    plateau = surface(same_ones_are_hard, one_more, one_more_each, half_of_them).plateau()
    assert list(plateau) == [(0,), (1,)]
    assert plateau[0,] == 0 and plateau[1,] == pytest.approx(1)
    difference = np.array(half_of_them) - np.array(same_ones_are_hard)
    assert difference.sum() > math.sqrt(8 * difference.var(ddof=1))
    assert list(surface([3], [4], [3]).plateau()) == [(0,), (2,)]


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> Problem:
    return Problem(tmp_path_factory.mktemp("graph"), LETTERS, LINES, "word")


@pytest.mark.parametrize("lm_scale", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("method", ["kaldi", "k2"])
def test_a_graph_weighs_as_much_as_lm_scale_says(problem, method, lm_scale):
    """Against all alignments: the best one's log-probability and lm_scale times the language model's."""
    if method == "k2" and not k2_available():
        pytest.skip("k2 is not installed")
    log_probs = [random_log_probs(seed, 6, len(LETTERS)) for seed in range(6)]
    config = SearchConfig(search_beam=300.0, output_beam=100.0, min_active=1000, max_active=100000, lm_scale=lm_scale)
    with METHODS[method].open(problem.material) as search:
        found = search.decode(log_probs, config)
    for one, log_probs_SV in zip(found, log_probs, strict=True):
        words, score = best_of_graph(problem, log_probs_SV, lm_scale)
        assert one.reached_final and one.words == words
        assert one.score == pytest.approx(score, abs=2e-3)


def best_of_graph(problem: Problem, log_probs_SV: np.ndarray, lm_scale: float) -> tuple[tuple[str, ...], float]:
    best: dict[tuple[str, ...], float] = {}
    for path in itertools.product(range(len(LETTERS)), repeat=len(log_probs_SV)):
        text = LETTERS.decode([token for token, _ in itertools.groupby(path) if token])
        words = tuple(text.split())
        if "  " not in text.strip() and problem.lexicon.spellings.keys() >= set(words):
            score = float(log_probs_SV[range(len(path)), path].sum(dtype=np.float64))
            best[words] = max(best.get(words, -math.inf), score)
    scores = {words: score + lm_scale * log_p_of_graph(problem, words) for words, score in best.items()}
    words = max(scores, key=scores.__getitem__)
    return words, scores[words]


def log_p_of_graph(problem: Problem, words: tuple[str, ...]) -> float:
    """Of a bigram model as a graph has it: backing off is always free to take, where it is the likelier way, too."""
    unigrams, bigrams = problem.model.tables
    total = 0.0
    for before, word in itertools.pairwise((BOS, *words, EOS)):
        backed_off = unigrams[before,][1] + unigrams[word,][0]
        total += max(bigrams.get((before, word), (-math.inf,))[0], backed_off)
    return total * math.log(10)


@pytest.fixture
def folder(tmp_path, tone_cuts) -> Path:
    """A recipe with a graph, an untrained checkpoint, and dev log-probabilities of a network that mishears."""
    folder = new_recipe(tmp_path / "mine", "lm: {order: 2}\nfeatures: {storage: on_the_fly}\n")
    texts = [LINES[number % len(LINES)] for number in range(len(tone_cuts))]
    said_so = [
        replace(cut, supervisions=[replace(cut.supervisions[0], text=text, gender="female")])
        for cut, text in zip(tone_cuts, texts, strict=True)
    ]
    for split, some in (("train", said_so), ("dev", said_so), ("test", said_so[:4])):
        cut_files.write(some, folder / "data" / split / "cuts.jsonl.gz")
    recipe = load(folder)
    LETTERS.write(recipe.lang / "tokens.txt")
    lm.run(recipe)
    graph.run(recipe)
    training = from_dict(TrainConfig, {**SMALL, "seed": 1}, "test")
    recogniser = Recogniser.new(training, LETTERS, replace(recipe.config.features, mean_variance="none"), None, "english", "word")
    path = recipe.experiment(None) / "best.pt"
    checkpoint.save(path, recogniser, {})
    key = {"checkpoint": tuned.digest([path]), "cuts": tuned.digest([recipe.cuts("dev")])}
    noisy = ((cut.id, misheard(cut.supervisions[0].text, number)) for number, cut in enumerate(said_so))
    stored.store(path.parent / "tune", key, len(LETTERS), noisy)
    return folder


def misheard(text: str, seed: int) -> np.ndarray:
    logits = 0.4 * said(LETTERS, text) + np.random.default_rng(seed).normal(size=(3 * len(text), len(LETTERS)))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def test_what_is_chosen_stands_beside_the_checkpoint_with_its_surface(folder, capsys):
    (folder / "data/test/cuts.jsonl.gz").unlink()  # the test set is never looked at
    recipe = load(folder)
    before = (folder / "exp/ds2/tune/meta.json").stat().st_mtime_ns
    tune_verb.run(recipe, None, None, None, 1)
    assert (folder / "exp/ds2/tune/meta.json").stat().st_mtime_ns == before  # the network did not run again
    entries = json.loads((folder / "exp/ds2/search.json").read_text(encoding="utf-8"))
    assert entries.keys() == {"graph", "beam"} and (folder / "exp/ds2/tune.png").stat().st_size
    for name, beam, names in (("graph", "search_beam", {"lm_scale"}), ("beam", "beam_size", {"alpha", "beta"})):
        entry = entries[name]
        assert entry["chosen"].keys() == {*names, beam}
        weights = {name: entry["chosen"][name] for name in names}
        (chosen,) = [point for point in entry["surface"] if weights.items() <= point.items()]
        assert chosen["kept"] and chosen["error_rate"] >= entry["best_error_rate"]
        assert_the_narrowest_that_is_as_good(entry, beam)
        assert entry["best_error_rate"] == min(point["error_rate"] for point in entry["surface"])
    assert "dev error rate" in capsys.readouterr().out
    assert_rates_are_real(recipe, entries["beam"])


def assert_the_narrowest_that_is_as_good(entry, beam: str) -> None:
    widths, rates = zip(*((one[beam], one["error_rate"]) for one in entry["beams"]), strict=True)
    assert widths == tuple(sorted(widths)) and widths[-1] == {"beam_size": 500, "search_beam": 20.0}[beam]
    chosen = widths.index(entry["chosen"][beam])
    assert entry["dev_error_rate"] == rates[chosen] <= rates[-1] < min((*rates[:chosen], 100.0))


def assert_rates_are_real(recipe, entry) -> None:
    """The rate of the choice, by another way: decoded alone and counted here."""
    kept = stored.StoredEmissions(recipe.experiment(None) / "tune")
    refs = {cut.id: cut.supervisions[0].text for cut in cut_files.read(recipe.cuts("dev"))}
    recogniser, _ = checkpoint.load(recipe.experiment(None) / "best.pt")
    with METHODS["beam"].open(decode.material_of(recipe.lang / "graph", recogniser)) as search:
        found = search.decode([kept[n] for n in range(len(kept))], SearchConfig(**entry["chosen"]))
    pairs = zip(kept.names, found, strict=True)
    counts = [count_errors(refs[name], " ".join(one.words), "word") for name, one in pairs]
    assert entry["dev_error_rate"] == sum(one.errors for one in counts) / sum(one.ref for one in counts)


def test_nothing_is_tuned_on_a_network_that_has_learned_nothing(folder, capsys):
    recipe = load(folder)
    path = recipe.experiment(None) / "best.pt"
    key = {"checkpoint": tuned.digest([path]), "cuts": tuned.digest([recipe.cuts("dev")])}
    noise = ((cut.id, random_log_probs(n, 40, len(LETTERS))) for n, cut in enumerate(cut_files.read(recipe.cuts("dev"))))
    stored.store(path.parent / "tune", key, len(LETTERS), noise)
    tune_verb.run(recipe, None, None, None, 1)
    assert "nothing is tuned: without a language model" in capsys.readouterr().out
    assert not (folder / "exp/ds2/search.json").exists()


def test_many_processes_choose_the_same(folder):
    recipe = load(folder)
    chosen = []
    for num_jobs in (1, 2):
        tune_verb.run(recipe, None, None, ["kaldi"], num_jobs)
        chosen.append((folder / "exp/ds2/search.json").read_bytes())
    assert chosen[0] == chosen[1]


def test_decode_takes_what_was_chosen_and_says_so(folder, capsys):
    recipe = load(folder)
    tune_verb.run(recipe, None, None, ["kaldi"], 1)
    entries = tuned.read(recipe.experiment(None))
    tuned.add(recipe.experiment(None), "graph", {**entries["graph"], "chosen": {"lm_scale": 0.125}})
    capsys.readouterr()
    decode.run(recipe, None, None, None, ["greedy", "kaldi", "beam"], 1)
    out = capsys.readouterr().out
    assert "kaldi: lm_scale 0.125, search_beam 20 (tuned on dev)" in out
    assert "beam: alpha 0.5, beta 0.5, beam_size 500 (of recipe.yaml, not tuned)" in out
    for method in ("greedy", "kaldi", "beam"):
        done = folder / "exp/ds2/decode" / method
        cost = json.loads((done / "cost-test.json").read_text(encoding="utf-8"))
        assert 0 <= cost["real_time_factor"] < 10 and 10 < cost["peak_memory_mb"] < 100000
        first = hypotheses.read(done / "hyps-test.jsonl")[0]
        assert first.gender == "female" and Path(first.audio).exists() and first.audio_start_s == 0
    assert not (folder / "exp/ds2/emissions").exists()


def test_weights_of_another_checkpoint_or_language_model_are_not_used(folder, capsys):
    recipe = load(folder)
    tune_verb.run(recipe, None, None, ["kaldi"], 1)
    path = recipe.experiment(None) / "best.pt"
    recogniser, _ = checkpoint.load(path)
    checkpoint.save(path, recogniser, {"more": 1})
    capsys.readouterr()
    decode.run(recipe, None, None, None, ["kaldi"], 1)
    assert "lm_scale 0.25, search_beam 20 (of recipe.yaml: what was tuned is for another checkpoint" in capsys.readouterr().out
    lm.run(load_with(folder, "lm: {order: 2}", "lm: {order: 1}"))
    graph.run(load(folder))
    capsys.readouterr()
    decode.run(load(folder), None, None, None, ["kaldi"], 1)
    assert "for another checkpoint and another language model" in capsys.readouterr().out


def load_with(folder: Path, old: str, new: str):
    facts = folder / "recipe.yaml"
    facts.write_text(facts.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return load(folder)


@pytest.mark.parametrize("damaged", ["", "[]", '{"graph": {}}', '{"graph": {"chosen": 1, "of": {}}}'])
def test_a_damaged_choice_is_named(folder, damaged):
    (folder / "exp/ds2/search.json").write_text(damaged, encoding="utf-8")
    with pytest.raises(DataError, match="search.json is damaged.*ds2 tune"):
        decode.run(load(folder), None, None, None, ["kaldi"], 1)


@pytest.mark.parametrize("method", ["beam", "kaldi"])
def test_beams_too_narrow_are_named_and_nothing_is_written(folder, method):
    """Every utterance ends within the only word, and one path is kept, which is not at a word's end."""
    recipe = load(folder)
    Lexicon({"ab": (("a", "b"),)}).write(recipe.lang / "lexicon.txt")
    compile_graph(LETTERS.tokens, Lexicon.read(recipe.lang / "lexicon.txt"), recipe.lang / "G.arpa", recipe.lang / "graph")
    recogniser, _ = checkpoint.load(recipe.experiment(None) / "best.pt")
    material = decode.material_of(recipe.lang / "graph", recogniser)
    narrow = SearchConfig(search_beam=1e-6, beam_size=1, min_active=0, max_active=1)
    kept = stored.store(folder / "kept", {}, len(LETTERS), [("one", said(LETTERS, "ab a")), ("two", said(LETTERS, "a"))])
    with pytest.raises(UserError, match=f"{method} found no whole path in any utterance of test.*too narrow"):
        decode.decode(method, recogniser, material, kept, narrow, "test", 1)
    decode.decode(method, recogniser, material, kept, SearchConfig(search_beam=100.0), "test", 1)


def test_a_network_that_hears_only_blanks_is_named_and_nothing_is_written(folder):
    recipe = load(folder)
    path = recipe.experiment(None) / "best.pt"
    recogniser, _ = checkpoint.load(path)
    with torch.no_grad():
        list(recogniser.model.parameters())[-1][0] += 100.0  # the bias of the blank
    checkpoint.save(path, recogniser, {})
    with pytest.raises(UserError, match="test: the network hears nothing but blanks in all 4 utterances"):
        decode.run(recipe, None, None, None, None, 1)
    with pytest.raises(UserError, match="dev: the network hears nothing but blanks"):
        tune_verb.run(recipe, None, None, None, 1)
    assert not [path for name in ("decode", "emissions", "tune") for path in (folder / "exp/ds2" / name).rglob("*")]
    assert not (folder / "exp/ds2/search.json").exists()
    decode.run(recipe, None, None, None, ["greedy"], 1)
    assert all(one.hyp == "" for one in hypotheses.read(folder / "exp/ds2/decode/greedy/hyps-test.jsonl"))


def test_a_dev_set_without_words_is_named(folder):
    recipe = load(folder)
    cuts = [replace(c, supervisions=[replace(c.supervisions[0], text="")]) for c in cut_files.read(recipe.cuts("dev"))]
    cut_files.write(cuts, recipe.cuts("dev"))
    with pytest.raises(UserError, match="no words to tune on"):
        tune_verb.run(recipe, None, None, ["kaldi"], 1)
    assert not (folder / "exp/ds2/search.json").exists()


@pytest.mark.parametrize("method", ["beam", "kaldi", "k2"])
def test_processes_find_the_same_and_leave_none_behind(problem, tmp_path, monkeypatch, method):
    if method == "k2" and not k2_available():
        pytest.skip("k2 is not installed")
    assert num_processes(method, 100_000, 4) == 4 and num_processes(method, 8, 4) == 1
    monkeypatch.setitem(METHODS, method, replace(METHODS[method], min_batches=1))
    log_probs = ((str(seed), random_log_probs(seed, 9, len(LETTERS))) for seed in range(20))
    kept = stored.store(tmp_path / "kept", {}, len(LETTERS), log_probs)
    found = [
        [done[:3] for done in search_all(method, problem.material, kept, [SearchConfig()], num_jobs, "searching")]
        for num_jobs in (1, 2)
    ]
    assert found[0] == found[1] and sum(len(numbers) for _, numbers, _ in found[0]) == 20
    assert ended(str(problem.material.graph))


def ended(argument: str) -> bool:
    """Whether no process with that path among its arguments is left, soon."""
    for _ in range(50):
        if not any(argument in " ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])):
            return True
        time.sleep(0.1)
    return False


def test_emissions_come_back_as_they_were(tmp_path):
    log_probs = [random_log_probs(seed, num_frames, 5) for seed, num_frames in enumerate((3, 0, 7))]
    kept = stored.store(tmp_path / "kept", {"of": 1}, 5, zip("abc", log_probs, strict=True))
    assert kept.is_of({"of": 1}) and not kept.is_of({"of": 2}) and kept.names == ["a", "b", "c"]
    for number, log_probs_SV in enumerate(log_probs):
        np.testing.assert_array_equal(stored.StoredEmissions(tmp_path / "kept")[number], log_probs_SV)
    assert not stored.StoredEmissions(tmp_path / "absent").is_of({"of": 1})
    assert len(stored.store(tmp_path / "none", {}, 5, [])) == 0
