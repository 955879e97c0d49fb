"""N-best lists: held to exhaustive search on small problems, and what `ds2 decode --nbest` writes of them."""

import itertools
import json
import math

import pytest
from test_beam import CHARACTER_LINES, EVERYTHING, IDEOGRAPHS, LETTERS, LINES, Problem, random_log_probs
from test_k2_methods import WIDE, built, opened  # noqa: F401
from test_tune import folder  # noqa: F401

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import nbest
from ds2toolkit.decode.k2_search import K2Search, rescored
from ds2toolkit.decode.k2_worker import k2_available
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.nbest import NBest
from ds2toolkit.decode.paths import ScoredPath
from ds2toolkit.errors import UserError
from ds2toolkit.recipe import load
from ds2toolkit.score import hypotheses
from ds2toolkit.verbs import decode
from ds2toolkit.verbs.score import hypothesis_files

needs_k2 = pytest.mark.skipif(not k2_available(), reason="k2 is not installed: make k2")
NUM = 12


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> list[Problem]:
    made = tmp_path_factory.mktemp("words"), tmp_path_factory.mktemp("characters")
    return [Problem(made[0], LETTERS, LINES, "word"), Problem(made[1], IDEOGRAPHS, CHARACTER_LINES, "character")]


def ranked(problem: Problem, log_probs_SV, alpha: float, beta: float, lexicon: bool, num: int) -> list[tuple[tuple[str, ...], float]]:
    """The best of all word sequences, each the best of those that are left."""
    found, probs = [], dict(problem.p_ctc(log_probs_SV))
    problem.sums[log_probs_SV.tobytes()] = left = dict(probs)
    try:
        while len(found) < num:
            try:
                words, score = problem.best(log_probs_SV, alpha, beta, lexicon)
            except ValueError:  # no sequence is left
                break
            found.append((words, score))
            for tokens in [tokens for tokens in left if tuple(words_of(problem, tokens)) == words]:
                del left[tokens]
    finally:
        problem.sums[log_probs_SV.tobytes()] = probs
    return found


def words_of(problem: Problem, tokens: tuple[int, ...]) -> list[str]:
    text = problem.vocabulary.decode(tokens)
    return text.split() if problem.unit == "word" else list(text)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.7, 1.3)])
@pytest.mark.parametrize(("method", "lexicon"), [("beam", True), ("beam-free", False)])
def test_lists_of_beam_searches_are_the_best_of_all_sequences(problems, method, lexicon, alpha, beta):
    settings = SearchConfig(alpha=alpha, beta=beta, **EVERYTHING)
    for problem in problems:
        log_probs = [random_log_probs(seed, 5, len(problem.vocabulary)) for seed in range(3)]
        with METHODS[method].open(problem.material) as search:
            lists, best = search.nbest(log_probs, settings, NUM), search.decode(log_probs, settings)
            assert search.nbest(log_probs, settings, 3) == [found[:3] for found in lists]
        for found, one, log_probs_SV in zip(lists, best, log_probs, strict=True):
            expected = ranked(problem, log_probs_SV, alpha, beta, lexicon, NUM)
            assert found[0] == one and len(expected) > 3
            assert [each.words for each in found] == [words for words, _ in expected]
            assert [each.score for each in found] == pytest.approx([score for _, score in expected], abs=1e-4)


@needs_k2
@pytest.mark.parametrize("lm_scale", [1.0, 0.4])
def test_lists_of_k2_are_the_best_of_all_sequences_with_the_scores_of_decode(problems, lm_scale):
    wide = SearchConfig(search_beam=300.0, output_beam=300.0, min_active=1000, max_active=100000, lm_scale=lm_scale)
    problem = problems[0]
    log_probs = [random_log_probs(seed, 5, len(LETTERS)) for seed in range(3)]
    with METHODS["k2"].open(problem.material) as search:
        lists, best = search.nbest([*log_probs, log_probs[0][:0]], wide, NUM), search.decode(log_probs, wide)
    assert lists.pop() == []
    for found, one, log_probs_SV in zip(lists, best, log_probs, strict=True):
        scores = [each.score for each in found]
        assert found[0].words == one.words and scores[0] == pytest.approx(one.score, abs=1e-3)
        expected = best_paths(problem, log_probs_SV, lm_scale)
        assert len({each.words for each in found}) == len(found) == min(NUM, len(expected)) > 3
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx(sorted(expected.values(), reverse=True)[: len(found)], abs=2e-3)
        assert scores == pytest.approx([expected[each.words] for each in found], abs=2e-3)


def test_k2_nbest_lists_are_in_the_order_of_the_larger_model():
    parts = ((-1.0, -1.0, -9.0), (-2.0, -2.0, -1.0), (0.0, 0.0, -math.inf))
    paths = [ScoredPath((number,), *each, True) for number, each in enumerate(parts, start=1)]
    assert rescored(paths) == [((2,), -3.0, True), ((1,), -10.0, True)]
    assert rescored(paths[2:]) == [((3,), 0.0, True)] and rescored([]) == []


@needs_k2
def test_k2_nbest_lists_begin_with_what_decode_finds(built, opened):  # noqa: F811
    search = K2Search(built[0], opened.engine, "nbest")
    log_probs = [random_log_probs(seed, 6, len(built[0].tokens)) for seed in range(4)]
    lists = search.best_paths(log_probs, WIDE, 5)
    assert [found[0] for found in lists] == search.decode(log_probs, WIDE)
    for found in lists:
        assert [path.score for path in found] == sorted((path.score for path in found), reverse=True)
        assert len({path.word_ids for path in found}) == len(found) == 5


def best_paths(problem: Problem, log_probs_SV, lm_scale: float) -> dict[tuple[str, ...], float]:
    """The score of each word sequence by its best alignment."""
    best: dict[tuple[str, ...], float] = {}
    for path in itertools.product(range(log_probs_SV.shape[1]), repeat=len(log_probs_SV)):
        tokens = tuple(token for token, _ in itertools.groupby(path) if token)
        words = tuple(words_of(problem, tokens))
        if problem.spelled_as_in_lexicon(tokens, words):
            score = float(sum(log_probs_SV[frame, token] for frame, token in enumerate(path)))
            best[words] = max(best.get(words, -math.inf), score)
    return {words: score + lm_scale * problem.log_p_lm(list(words)) for words, score in best.items()}


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_decode_writes_lists_beside_the_hypotheses(folder, capsys):  # noqa: F811
    methods = ["greedy", "beam", *(["k2"] if k2_available() else [])]
    decode.run(load(folder), None, None, None, methods, 1, 5)
    out = capsys.readouterr().out
    assert "oracle WER of 5-best" in out and "greedy finds the best path alone" in out
    assert not (folder / "exp/ds2/decode/greedy/nbest-test.jsonl").exists()
    for method in methods[1:]:
        done = folder / "exp/ds2/decode" / method
        lists, best = read(done / "nbest-test.jsonl"), hypotheses.read(done / "hyps-test.jsonl")
        assert len(lists) == len(best) == 4
        for one, first in zip(lists, best, strict=True):
            assert list(one) == ["id", "ref", "nbest"] and (one["id"], one["ref"]) == (first.id, first.ref)
            assert one["nbest"][0] == {"text": first.hyp, "score": first.score}
            scores = [entry["score"] for entry in one["nbest"]]
            assert scores == sorted(scores, reverse=True)
            assert 1 < len({entry["text"] for entry in one["nbest"]}) == len(scores) <= 5
    assert {tuple(sets) for sets in hypothesis_files(folder / "exp/ds2/decode").values()} == {("test",)}
    decode.run(load(folder), None, None, None, ["beam"], 1)
    assert not (folder / "exp/ds2/decode/beam/nbest-test.jsonl").exists()  # it would be of another run


def test_the_oracle_takes_the_best_of_each_list():
    lists = [NBest("1", "a b c", [("a x", -1.0), ("a b c", -2.0)]), NBest("2", "d", [("e f", -1.0)])]
    assert nbest.oracle(lists, "word", 2) == "oracle WER of 2-best 50.00%, WER 100.00%"
    assert nbest.oracle(lists[:1], "character", 2).startswith("oracle CER of 2-best 0.00%")


def test_texts_are_distinct_and_infinite_scores_null(tmp_path):
    assert nbest.distinct([("mr a", -1.0), ("b", -2.0), ("mr a", -3.0)]) == [("mr a", -1.0), ("b", -2.0)]
    nbest.write(tmp_path / "nbest-x.jsonl", [NBest("1", "你", [("", -math.inf)])])
    assert read(tmp_path / "nbest-x.jsonl") == [{"id": "1", "ref": "你", "nbest": [{"text": "", "score": None}]}]


def test_bad_input(monkeypatch):
    for num in (0, -3):
        with pytest.raises(UserError, match=f"--nbest {num}: expected at least 1"):
            nbest.check(num, None)
    with pytest.raises(UserError, match="greedy, kaldi.*--methods beam beam-free k2 k2-nbest"):
        nbest.check(5, ["greedy", "kaldi"])
    nbest.check(5, ["greedy", "beam"])
    monkeypatch.setattr(nbest, "k2_available", lambda: None)
    nbest.check(5, ["beam"])
    for methods in (None, ["k2"], ["beam", "k2-nbest"]):
        with pytest.raises(UserError, match="k2.*not installed.\nRun: make k2"):
            nbest.check(5, methods)
