"""Every way that k2 searches a graph, held to all the paths there are; and what each says of bad input."""

import itertools
import math
from collections import defaultdict
from functools import lru_cache

import numpy as np
import pytest

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import fsts
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.k2_search import K2Search, best_rescored
from ds2toolkit.decode.k2_worker import k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.decode.lattice import Lattice, nbest
from ds2toolkit.decode.paths import ScoredPath
from ds2toolkit.errors import UserError
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.ngram import BOS, EOS, estimate, read_arpa, write_arpa
from ds2toolkit.text.vocabulary import Vocabulary

needs_k2 = pytest.mark.skipif(not k2_available(), reason="k2 is not installed: make k2")

WIDE = SearchConfig(search_beam=1000.0, output_beam=1000.0, min_active=0, max_active=100000)
ENGLISH = ("<blk>", " ", "a", "b", "n")
MANDARIN = ("<blk>", "中", "国", "人")
TEXTS = {
    "english": (ENGLISH, ["a b", "ab a", "an a b", "b", "a a b an", "ban", "a b ban"]),
    "mandarin": (MANDARIN, ["中国 人", "人 中", "中 国 人", "国人", "中国人 中国", "人 人"]),
}
KINDS = {"english-1-3": 500, "mandarin-2-3": 500, "mandarin-1-3-linear": 0}
NUM_FRAMES = 6
SCALES = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.2, 3.0)]


@pytest.fixture(scope="module", params=KINDS)
def built(request, tmp_path_factory):
    """A graph with a larger model to rescore with, its lexicon and both models."""
    folder, (name, *orders) = tmp_path_factory.mktemp("graph"), request.param.removesuffix("-linear").split("-")
    tokens, lines = TEXTS[name]
    text = [line.split() for line in lines]
    lexicon, _ = Lexicon.from_words({word for sentence in text for word in sentence}, Vocabulary(tokens), name)
    arpas = [folder / f"{order}.arpa" for order in orders]
    for order, arpa in zip(orders, arpas, strict=True):
        write_arpa(estimate(text, int(order)), arpa)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsts, "MAX_STANDARD", KINDS[request.param])
        graph = compile_graph(tokens, lexicon, arpas[0], folder / "graph", arpas[1])
    return graph, lexicon, *map(read_arpa, arpas)


@pytest.fixture(scope="module")
def opened(built):
    with open_k2(built[0]) as search:
        yield search


def random_log_probs(tokens, seed, num_frames=NUM_FRAMES):
    logits = np.random.default_rng(seed).normal(size=(num_frames, len(tokens))) * (1 + seed % 3 * 2)
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


@lru_cache(None)
def collapsed(tokens, num_frames, linear):
    """Every path over the frames, and the texts it may stand for."""
    paths = list(itertools.product(range(len(tokens)), repeat=num_frames))
    texts = []
    for path in paths:
        runs = [(tokens[token], len(list(group))) for token, group in itertools.groupby(path) if token]
        counts = itertools.product(*(range(1, length + 1) if linear else [1] for _, length in runs))
        texts.append({"".join(token * n for (token, _), n in zip(runs, count, strict=True)) for count in counts})
    return np.array(paths), texts


def all_sentences(built, log_probs):
    """Every sentence that the frames can say: log-probability of its best path, and that of each language model."""
    graph, lexicon, *models = built
    acoustic = texts_of(graph, log_probs)
    spelled = defaultdict(list)
    for word, spellings in lexicon.spellings.items():
        for spelling in spellings:
            spelled["".join(spelling)].append(word)

    @lru_cache(None)
    def parses(text):
        if " " in graph.tokens:
            return list(itertools.product(*(spelled.get(part, []) for part in text.split())))
        if not text:
            return [()]
        heads = ((text[:n], text[n:]) for n in range(1, len(text) + 1))
        return [(word, *rest) for head, tail in heads for word in spelled.get(head, []) for rest in parses(tail)]

    best = defaultdict(lambda: -math.inf)
    for text, score in acoustic.items():
        for sentence in parses(text):
            best[sentence] = max(best[sentence], score)
    return {sentence: (score, *(log_prob(model, sentence) for model in models)) for sentence, score in best.items()}


def texts_of(graph, log_probs):
    """The log-probability of the best path of every text."""
    paths, texts = collapsed(graph.tokens, len(log_probs), graph.meta.get("topology") == "linear")
    scores = log_probs.astype(np.float64)[np.arange(len(log_probs)), paths].sum(axis=1)
    best = defaultdict(lambda: -math.inf)
    for score, those in zip(scores.tolist(), texts, strict=True):
        for text in those:
            best[text] = max(best[text], score)
    return best


def log_prob(model, sentence):
    words = (BOS, *sentence, EOS)
    return math.log(10) * sum(model.log10_prob(word, words[:n]) for n, word in enumerate(words[1:], 1))


@needs_k2
def test_nbest_lists_are_the_best_of_all_sentences_with_their_scores(built, opened):
    graph = built[0]
    for seed in range(6):
        log_probs = random_log_probs(graph.tokens, seed)
        table = all_sentences(built, log_probs)
        ranked = sorted(table, key=lambda sentence: -sum(table[sentence][:2]))
        (paths,) = opened.nbest([log_probs], WIDE, 20)
        assert len(paths) == min(20, len(table)) == len({path.word_ids for path in paths})
        for path, sentence in zip(paths, ranked, strict=False):
            assert path.score() == pytest.approx(sum(table[sentence][:2]), abs=1e-3)
            parts = table[graph.spell(path.word_ids)]
            assert (path.acoustic, path.lm, path.rescored) == pytest.approx(parts, abs=1e-3)
            assert path.reached_final


@needs_k2
def test_whole_lattices_are_rescored_as_all_sentences_are_for_every_pair_of_scales(built, opened):
    graph, seeds = built[0], range(8)
    batch = [random_log_probs(graph.tokens, seed) for seed in seeds]
    changed = 0
    for log_probs, paths in zip(batch, opened.rescore(batch, WIDE, SCALES), strict=True):
        table = all_sentences(built, log_probs)
        for path, (lm_scale, rescore_scale) in zip(paths, SCALES, strict=True):
            totals = {said: am + lm_scale * lm + rescore_scale * larger for said, (am, lm, larger) in table.items()}
            assert path.score(lm_scale, rescore_scale) == pytest.approx(max(totals.values()), abs=1e-3)
            assert totals[graph.spell(path.word_ids)] == pytest.approx(max(totals.values()), abs=1e-3)
            assert path.reached_final
        changed += paths[0].word_ids != paths[1].word_ids
    assert changed


@needs_k2
def test_decode_takes_the_larger_model_by_nbest_list_and_by_lattice(built, opened):
    graph = built[0]
    batch = [random_log_probs(graph.tokens, seed) for seed in range(8)]
    found = {way: K2Search(graph, opened.engine, way).decode(batch, WIDE) for way in ("nbest", "lattice")}
    for number, log_probs in enumerate(batch):
        table = all_sentences(built, log_probs)
        best = max(am + larger for am, _, larger in table.values())
        in_list = sorted(table, key=lambda sentence: -sum(table[sentence][:2]))[:100]
        best_of_list = max(table[sentence][0] + table[sentence][2] for sentence in in_list)
        assert found["lattice"][number].score == pytest.approx(best, abs=1e-3)
        assert found["nbest"][number].score == pytest.approx(best_of_list, abs=1e-3)


@needs_k2
@pytest.mark.parametrize(("tokens", "most"), [(ENGLISH, 500), (MANDARIN, 500), (MANDARIN, 0)])
def test_ctc_alone_finds_the_best_texts(tokens, most, tmp_path, monkeypatch):
    monkeypatch.setattr("ds2toolkit.decode.tokens.MAX_STANDARD", most)
    monkeypatch.setattr(fsts, "MAX_STANDARD", most)
    name = "english" if " " in tokens else "mandarin"
    lines = [line.split() for line in TEXTS[name][1]]
    lexicon, _ = Lexicon.from_words({word for words in lines for word in words}, Vocabulary(tokens), name)
    write_arpa(estimate(lines, 1), tmp_path / "lm.arpa")
    with open_k2(compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph"), "ctc") as search:
        silence = np.log(np.eye(len(tokens), dtype=np.float32)[np.zeros(4, int)] + 1e-9)
        empty, silent = search.decode([silence[:0], silence], WIDE)
        assert empty == ((), -math.inf, False) and silent == ((), pytest.approx(0, abs=1e-3), True)
        with pytest.raises(ValueError, match="utterance 0"):
            search.decode([silence[:, 1:]], WIDE)
        for seed in range(6):
            log_probs = random_log_probs(tokens, seed)
            ((best, *others),) = search.nbest([log_probs], WIDE, 5)
            texts = texts_of(search.graph, log_probs)
            greedy = "".join(tokens[token] for token, _ in itertools.groupby(log_probs.argmax(1).tolist()) if token)
            assert texts[greedy] == max(texts.values())
            assert search.graph.spell(best.word_ids) == tuple(greedy.split())
            assert best.acoustic == pytest.approx(log_probs.max(1).sum(), abs=1e-3)
            assert search.decode([log_probs], WIDE)[0][:2] == (best.word_ids, pytest.approx(best.score(), abs=1e-3))
            if most:
                found = ["".join(search.graph.words[word] for word in path.word_ids) for path in (best, *others)]
                expected = sorted(texts.values(), reverse=True)[:5]
                assert [path.score() for path in (best, *others)] == pytest.approx(expected, abs=1e-3)
                assert [texts[text] for text in found] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_nbest_of_random_lattices_is_that_of_all_their_paths(seed):
    """Layers of states, with several arcs between two of them, so that paths with the same words meet and part."""
    rng, num_layers, width = np.random.default_rng(seed), 5, 3
    rows = [
        (layer * width + (a if layer else 0), (layer + 1) * width + b, layer, rng.integers(0, 3), *rng.normal(size=2))
        for layer in range(num_layers) for a in range(width if layer else 1) for b in range(width) for _ in range(2)
        if rng.random() < 0.7
    ]  # fmt: skip
    end = (num_layers + 1) * width
    rows += [(num_layers * width + a, end, num_layers, -1, *rng.normal(size=2)) for a in range(width)]
    paths = defaultdict(lambda: (-math.inf,))
    stack = [(0, (), 0.0, 0.0)]
    while stack:
        state, words, acoustic, lm = stack.pop()
        for source, target, _, word, am, more in rows:
            if source == state and word < 0:
                total = (acoustic + am + lm + more, acoustic + am, lm + more)
                paths[words] = max(paths[words], total)
            elif source == state:
                stack.append((target, words + (word,) * bool(word), acoustic + am, lm + more))
    columns = [np.array(column) for column in zip(*[rows[n] for n in rng.permutation(len(rows))], strict=True)]
    ranked = sorted(paths.items(), key=lambda item: -item[1][0])
    for most, beam in ((7, math.inf), (1000, math.inf), (1000, 2.5), (7, 1.0)):
        found, nothing = nbest(Lattice(*columns, np.array([0, -1])), most, beam)
        expected = [(words, scores) for words, scores in ranked if scores[0] >= ranked[0][1][0] - beam][:most]
        assert nothing == [] and [path.word_ids for path in found] == [words for words, _ in expected]
        assert [path[1:3] for path in found] == [pytest.approx(scores[1:]) for _, scores in expected]


WAYS = ("1best", "nbest", "lattice")


@needs_k2
@pytest.mark.parametrize("way", [*WAYS, "kaldi"])
def test_silence_no_frames_and_a_graph_of_another_vocabulary(built, opened, way):
    graph = built[0]
    search = KaldiDecoder(graph) if way == "kaldi" else K2Search(graph, opened.engine, way)
    silence = np.full((9, len(graph.tokens)), -50.0, np.float32)
    silence[:, 0] = 0.0
    empty, silent = search.decode([silence[:0], silence], WIDE)
    assert empty == ((), -math.inf, False)
    assert silent.word_ids == () and silent.reached_final
    assert silent.score == pytest.approx(log_prob(built[3 if way in ("nbest", "lattice") else 2], ()), abs=1e-3)
    assert search.decode([], WIDE) == []
    with pytest.raises(ValueError, match=f"utterance 1: .* has {len(graph.tokens)} tokens"):
        search.decode([silence, silence[:, 1:]], WIDE)
    with pytest.raises(ValueError, match="NaN"):
        search.decode([np.where(silence < 0, np.nan, silence)], WIDE)


@needs_k2
@pytest.mark.parametrize("way", WAYS)
def test_a_beam_too_narrow_to_reach_a_final_state_gives_what_there_is(built, opened, way):
    graph = built[0]
    if " " not in graph.tokens:
        pytest.skip("every token is a word there, so that an utterance may end anywhere")
    log_probs = np.full((8, len(ENGLISH)), -1000.0, np.float32)
    log_probs[range(8), [ENGLISH.index(token) for token in "b ban ba"]] = -0.1
    narrow = SearchConfig(search_beam=100.0, output_beam=50.0, min_active=0, max_active=10000)
    cut, whole = K2Search(graph, opened.engine, way).decode([log_probs, log_probs[:5]], narrow)
    assert not cut.reached_final and graph.spell(cut.word_ids)[:2] == ("b", "ban") and cut.score > -60
    assert whole.reached_final and graph.spell(whole.word_ids) == ("b", "ban")
    (paths,) = opened.nbest([log_probs], narrow, 3)
    assert paths and not any(path.reached_final for path in paths)


@needs_k2
def test_rescoring_without_a_larger_model_names_the_setting(built, tmp_path):
    graph, lexicon, _, _ = built
    arpa = next(graph.folder.parent.glob("*.arpa"))
    plain = compile_graph(graph.tokens, lexicon, arpa, tmp_path / "graph")
    assert plain.larger_lm is None
    for way in ("nbest", "lattice"):
        with pytest.raises(UserError, match=r"rescore_order.*ds2 graph"):
            open_k2(plain, way)


@needs_k2
def test_sentences_that_the_larger_model_cannot_say_are_still_found(tmp_path):
    text = [["a", "b"], ["b", "a"], ["ab"]]
    lexicon, _ = Lexicon.from_words({"a", "b", "ab"}, Vocabulary(ENGLISH), "english")
    write_arpa(estimate(text, 2), tmp_path / "2.arpa")
    write_arpa(estimate([["a", "b"]] * 3, 2), tmp_path / "other.arpa")
    graph = compile_graph(ENGLISH, lexicon, tmp_path / "2.arpa", tmp_path / "graph", tmp_path / "other.arpa")
    assert graph.meta["num_words_outside_rescoring_lm"] == 1
    log_probs = np.full((2, len(ENGLISH)), -30.0, np.float32)
    log_probs[[0, 1], [2, 3]] = -0.1
    tight = SearchConfig(search_beam=20.0, output_beam=8.0)
    for way in ("nbest", "lattice"):
        with open_k2(graph, way) as search:
            (path,) = search.decode([log_probs], tight)
            assert graph.spell(path.word_ids) == ("ab",) and path.reached_final and path.score > -30
            ((scored, *_),) = search.nbest([log_probs], tight, 2)
            assert scored.rescored == -math.inf


def test_the_best_of_a_rescored_list():
    paths = [ScoredPath((1,), -5.0, -1.0, -9.0, True), ScoredPath((2,), -6.0, -2.0, -1.0, True)]
    assert best_rescored(paths) == ((2,), -7.0, True)
    unsayable = [path._replace(rescored=-math.inf) for path in paths]
    assert best_rescored(unsayable) == ((1,), -6.0, True)
    assert best_rescored([]) == ((), -math.inf, False)
    assert unsayable[0].score(0.5) == -5.5
