"""The decoding graph: its best path against every path there is, and what it says of bad input."""

import gzip
import itertools
import json
import math
from functools import lru_cache

import kaldifst
import numpy as np
import pytest

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import fsts
from ds2toolkit.decode.arcs import read_arcs, to_fst
from ds2toolkit.decode.backoff import END, BackOffModel
from ds2toolkit.decode.graph import Graph, compile_graph
from ds2toolkit.decode.graph_size import announced, graph_arcs
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.ngram import BOS, EOS, estimate, read_arpa, write_arpa
from ds2toolkit.text.vocabulary import Vocabulary

WIDE = SearchConfig(search_beam=1000.0, output_beam=1000.0, min_active=0, max_active=100000)
ENGLISH = ("<blk>", " ", "a", "b", "n")
MANDARIN = ("<blk>", "中", "国", "人")
TEXTS = {
    "english": (ENGLISH, ["a b", "ab a", "an a b", "b", "a a b an", "ban", "a b ban"]),
    "mandarin": (MANDARIN, ["中国 人", "人 中", "中 国 人", "国人", "中国人 中国", "人 人"]),
}
NUM_FRAMES = 6


TOPOLOGIES = {"standard": fsts.MAX_STANDARD, "linear": 0}


@pytest.fixture(
    scope="module",
    params=list(itertools.product(TEXTS, (1, 2, 3), TOPOLOGIES)),
    ids=lambda p: f"{p[0]}-{p[1]}gram-{p[2]}",
)
def built(request, tmp_path_factory):
    """A graph, and the lexicon and language model it was compiled from."""
    (name, order, topology), folder = request.param, tmp_path_factory.mktemp("graph")
    tokens, lines = TEXTS[name]
    text = [line.split() for line in lines]
    lexicon, _ = Lexicon.from_words({word for sentence in text for word in sentence}, Vocabulary(tokens), name)
    write_arpa(estimate(text, order), folder / "lm.arpa")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsts, "MAX_STANDARD", TOPOLOGIES[topology])
        graph = compile_graph(tokens, lexicon, folder / "lm.arpa", folder / "graph")
    assert graph.meta["topology"] == topology
    return graph, lexicon, read_arpa(folder / "lm.arpa")


def random_log_probs(tokens, num_frames=NUM_FRAMES, seed=0, scale=1.0):
    logits = np.random.default_rng(seed).normal(size=(num_frames, len(tokens))) * scale
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def readings(path, topology):
    """The sequences of tokens that a sequence of frames may stand for."""
    runs = [(token, len(list(group))) for token, group in itertools.groupby(path) if token]
    if topology == "standard":
        return [[token for token, _ in runs]]
    return [
        [token for (token, _), count in zip(runs, counts, strict=True) for _ in range(count)]
        for counts in itertools.product(*(range(1, length + 1) for _, length in runs))
    ]


def all_paths(tokens, lexicon, model, num_frames=NUM_FRAMES, topology="standard"):
    """Every sequence of tokens over the frames, its best sentence and that one's natural log-probability."""
    spelled = {}
    for word, spellings in lexicon.spellings.items():
        for spelling in spellings:
            spelled.setdefault("".join(spelling), []).append(word)

    @lru_cache(None)
    def parses(text):
        """Every way to read a text as words, spaces being required or absent."""
        if " " in tokens:
            return list(itertools.product(*(spelled.get(part, []) for part in text.split())))
        if not text:
            return [()]
        heads = ((text[:n], text[n:]) for n in range(1, len(text) + 1))
        return [
            (word, *rest) for head, tail in heads for word in spelled.get(head, []) for rest in parses(tail)
        ]

    @lru_cache(None)
    def best(text):
        scored = (
            (sum(model.log10_prob(w, (BOS, *s)[: i + 1]) for i, w in enumerate((*s, EOS))), s)
            for s in parses(text)
        )
        score, sentence = max(scored, default=(-math.inf, ()))
        return score * math.log(10), sentence

    paths = np.array(list(itertools.product(range(len(tokens)), repeat=num_frames)))
    texts = (["".join(tokens[t] for t in one) for one in readings(path, topology)] for path in paths.tolist())
    scores, found = zip(*(max(map(best, those), key=lambda scored: scored[0]) for those in texts), strict=True)
    return paths, np.array(scores), found


def viterbi(arcs, words, log_probs):
    """The best path through k2's form of the graph, in float64. Returns score and word numbers."""
    score = np.full(arcs[:, :2].max() + 1, -np.inf)
    score[0] = 0.0
    weights = np.ascontiguousarray(arcs[:, 3]).view(np.float32).astype(np.float64)
    said = {0: ()}
    for frame in [*log_probs.astype(np.float64), None]:
        new, new_said = np.full_like(score, -np.inf), {}
        for (source, target, label, _), weight, word in zip(arcs, weights, words, strict=True):
            if (label < 0) != (frame is None) or score[source] == -np.inf:
                continue
            there = score[source] + weight + (0.0 if frame is None else frame[label])
            if there > new[target]:
                new[target] = there
                new_said[target] = said[source] + ((int(word),) if word > 0 else ())
        score, said = new, new_said
    return score[-1], said[len(score) - 1]


def test_both_forms_find_the_best_of_all_paths(built):
    graph, lexicon, model = built
    topology = graph.meta["topology"]
    paths, lm_scores, sentences = all_paths(graph.tokens, lexicon, model, topology=topology)
    assert np.isfinite(lm_scores).any()
    arcs, words = np.load(graph.k2_arcs), np.load(graph.k2_words)
    with KaldiDecoder(graph) as decoder:
        for seed in range(12):
            log_probs = random_log_probs(graph.tokens, seed=seed, scale=1 + seed % 3 * 2)
            totals = log_probs.astype(np.float64)[np.arange(NUM_FRAMES), paths].sum(axis=1) + lm_scores
            best = totals.argmax()
            (found,) = decoder.decode([log_probs], WIDE)
            score, word_ids = viterbi(arcs, words, log_probs)
            assert found.reached_final
            assert found.score == pytest.approx(totals[best], abs=1e-3)
            assert score == pytest.approx(totals[best], abs=1e-3)
            assert graph.spell(found.word_ids) == graph.spell(word_ids) == sentences[best]


def test_back_off_leaves_input_epsilons_for_openfst_and_none_for_k2(built):
    graph, _, model = built
    fst = kaldifst.StdVectorFst.read(str(graph.fst))
    epsilons = sum(fst.num_input_epsilons(state) for state in range(fst.num_states))
    assert epsilons > 0 or model.order == 1
    arcs, words = np.load(graph.k2_arcs), np.load(graph.k2_words)
    end = arcs[:, 1].max()
    assert ((arcs[:, 2] == -1) == (arcs[:, 1] == end)).all() and (arcs[:, 0] != end).all()
    assert arcs[:, 2].min() == -1 and arcs[:, 2].max() == len(graph.tokens) - 1
    assert set(words[words > 0]) == set(range(1, len(graph.words)))
    keys = list(zip(arcs[:, 0].tolist(), arcs[:, 2].astype(np.uint32).tolist(), strict=True))
    assert keys == sorted(keys)


def test_large_vocabularies_get_a_graph_that_grows_with_the_language_model_alone(tmp_path):
    """Each history backs off to 600 characters: copied to each for k2, these would be 360,000 arcs."""
    characters = [chr(0x4E00 + number) for number in range(600)]
    draw = np.random.default_rng(0)
    text = [list(draw.choice(characters, 12)) for _ in range(100)] + [characters]
    write_arpa(estimate(text, 3), tmp_path / "lm.arpa")
    num_ngrams = sum(map(len, read_arpa(tmp_path / "lm.arpa").tables))
    vocabulary = Vocabulary(("<blk>", *characters))
    lexicon, _ = Lexicon.from_words(characters, vocabulary, "mandarin")
    graph = compile_graph(vocabulary.tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph")
    assert graph.meta["topology"] == "linear"
    assert graph.meta["num_arcs"] < 6 * num_ngrams and graph.meta["num_k2_arcs"] < 10 * num_ngrams
    log_probs = one_hot(graph.tokens, ["_", *"一丁丁丂", "_"])
    (found,) = KaldiDecoder(graph).decode([log_probs], WIDE)
    arcs, words = np.load(graph.k2_arcs), np.load(graph.k2_words)
    score, word_ids = viterbi(arcs, words, log_probs)
    assert found.score == pytest.approx(score, abs=1e-3)
    assert "".join(graph.spell(found.word_ids)) == "".join(graph.spell(word_ids)) == "一丁丂"


def test_the_linear_topology_needs_no_blank_between_equal_tokens(tmp_path):
    tokens, text = ("<blk>", "中", "国"), [["中", "中", "国"]] * 9 + [["国"]]
    write_arpa(estimate(text, 3), tmp_path / "lm.arpa")
    lexicon, _ = Lexicon.from_words({"中", "国"}, Vocabulary(tokens), "mandarin")
    said = {}
    for name, most in TOPOLOGIES.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fsts, "MAX_STANDARD", most)
            graph = compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph")
        for frames in ("中中国", "中_中国"):
            (found,) = KaldiDecoder(graph).decode([one_hot(tokens, frames)], WIDE)
            said[name, frames] = "".join(graph.spell(found.word_ids))
    assert said.pop(("standard", "中中国")) == "中国"
    assert set(said.values()) == {"中中国"}


def test_arrays_of_arcs_come_back_from_openfst(built, tmp_path):
    graph, _, _ = built
    arcs = read_arcs(kaldifst.StdVectorFst.read(str(graph.fst)), tmp_path)
    shuffled = arcs.rows(np.random.default_rng(0).permutation(len(arcs)))
    back = read_arcs(to_fst(shuffled, tmp_path), tmp_path)
    assert back.start == arcs.start and np.array_equal(back.final_cost, arcs.final_cost)
    columns = ("source", "ilabel", "olabel", "target", "cost")
    ours, theirs = (sorted(zip(*(getattr(one, name).tolist() for name in columns), strict=True)) for one in (arcs, back))
    assert ours == theirs and not list(tmp_path.iterdir())


@pytest.fixture
def parts(tmp_path):
    """What a small English graph is compiled from."""
    tokens, lines = TEXTS["english"]
    text = [line.split() for line in lines]
    write_arpa(estimate(text, 2), tmp_path / "lm.arpa")
    return (
        tokens,
        Lexicon.from_words({w for s in text for w in s}, Vocabulary(tokens), "english")[0],
        tmp_path / "lm.arpa",
        tmp_path / "graph",
    )


def one_hot(tokens, frames):
    """Log-probabilities that leave no doubt; `_` is the blank."""
    log_probs = np.full((len(frames), len(tokens)), -20.0, np.float32)
    log_probs[range(len(frames)), [tokens.index("<blk>" if frame == "_" else frame) for frame in frames]] = (
        0.0
    )
    return log_probs


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ("a b", "a b"),
        ("ab", "ab"),
        (" _ban_", "ban"),
        ("a_a", ""),
        ("aa  _ bb ", "a b"),
        ("a _ _an", "a an"),
        ("___", ""),
        (" ", ""),
    ],
)
def test_spaces_stand_between_words_and_may_stand_around_them(parts, frames, said):
    graph = compile_graph(*parts)
    (found,) = KaldiDecoder(graph).decode([one_hot(graph.tokens, frames)], WIDE)
    spelled = " ".join(graph.spell(found.word_ids))
    assert found.reached_final and found.score > -20 * len(frames)
    assert spelled == said if frames != "a_a" else "aa" not in spelled.replace(" ", "")


def test_homophones_are_told_apart_by_the_language_model(tmp_path):
    tokens = ("<blk>", " ", "t", "o", "u")
    lexicon = Lexicon({"to": (("t", "u"),), "too": (("t", "u"), ("t", "o", "o")), "tu": (("t", "u"),)})
    text = [["to"], ["to"], ["to", "too"], ["to", "too"], ["to", "tu", "too"]]
    write_arpa(estimate(text, 2), tmp_path / "lm.arpa")
    graph = compile_graph(tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph")
    paths, lm_scores, sentences = all_paths(tokens, lexicon, read_arpa(tmp_path / "lm.arpa"), 5)
    log_probs = one_hot(tokens, "tu tu")
    totals = log_probs[np.arange(5), paths].sum(axis=1) + lm_scores
    (found,) = KaldiDecoder(graph).decode([log_probs], WIDE)
    assert graph.spell(found.word_ids) == sentences[totals.argmax()] == ("to", "too")
    assert found.score == pytest.approx(totals.max(), abs=1e-3)


def test_a_graph_is_loaded_as_it_was_compiled(parts):
    tokens, lexicon, arpa, folder = parts
    graph = compile_graph(tokens, lexicon, arpa, folder)
    assert Graph.load(folder) == graph
    assert graph.tokens == tokens and graph.words == ("<eps>", *lexicon.words)
    assert "<space> 2\n" in (folder / "tokens.txt").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["graph", "lm.arpa"]
    graph.check_tokens(list(tokens))


def test_the_same_input_gives_the_same_bytes_also_from_gzip(parts, tmp_path):
    tokens, lexicon, arpa, folder = parts
    compile_graph(tokens, lexicon, arpa, folder)
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(arpa.read_bytes()))
    again = compile_graph(tokens, lexicon, tmp_path / "lm.arpa.gz", tmp_path / "again")
    for name in ("HLG.fst", "k2_arcs.npy", "k2_words.npy", "words.txt", "tokens.txt"):
        assert (again.folder / name).read_bytes() == (folder / name).read_bytes()


def test_words_on_one_side_only_are_counted(parts):
    tokens, lexicon, arpa, folder = parts
    graph = compile_graph(tokens, Lexicon.from_words({"a", "b", "nab"}, Vocabulary(tokens), "english")[0], arpa, folder)
    assert graph.words == ("<eps>", "a", "b")
    assert graph.meta["num_lm_words_without_spelling"] == len(lexicon.words) - 2
    assert graph.meta["num_lexicon_words_outside_lm"] == 1


def test_a_compilation_broken_off_leaves_the_older_graph(parts, monkeypatch):
    tokens, lexicon, arpa, folder = parts
    graph = compile_graph(tokens, lexicon, arpa, folder)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compile_graph(tokens, Lexicon.from_words({"a"}, Vocabulary(tokens), "english")[0], arpa, folder)
    assert Graph.load(folder) == graph
    assert sorted(path.name for path in folder.parent.iterdir()) == ["graph", "lm.arpa"]


def test_a_newer_graph_takes_the_place_of_an_older(parts):
    tokens, lexicon, arpa, folder = parts
    compile_graph(tokens, lexicon, arpa, folder)
    (folder.with_name("part.graph")).mkdir()
    (folder.with_name("part.graph") / "left over").touch()
    compile_graph(tokens, Lexicon.from_words({"a"}, Vocabulary(tokens), "english")[0], arpa, folder)
    assert Graph.load(folder).words == ("<eps>", "a")
    assert not (folder / "left over").exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
def test_a_cut_off_language_model_is_the_users_to_mend(parts, kept):
    tokens, lexicon, arpa, folder = parts
    content = arpa.read_bytes()
    arpa.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match="lm.arpa"):
        compile_graph(tokens, lexicon, arpa, folder)
    assert not folder.exists()


def test_a_language_model_in_the_other_case_is_named_so(parts):
    tokens, lexicon, arpa, folder = parts
    write_arpa(estimate([["A", "B"]], 2), arpa)
    with pytest.raises(UserError, match="upper-case"):
        compile_graph(tokens, lexicon, arpa, folder)
    write_arpa(estimate([["x", "y"]], 2), arpa)
    with pytest.raises(UserError, match="no word in common"):
        compile_graph(tokens, lexicon, arpa, folder)


@pytest.mark.parametrize("spelling", [("a", "q"), (), ("a", " "), ("<blk>",)])
def test_a_spelling_outside_the_tokens_is_the_users_to_mend(parts, spelling):
    tokens, _, arpa, folder = parts
    with pytest.raises(DataError, match="spells 'a'"):
        compile_graph(tokens, Lexicon({"a": (spelling,)}), arpa, folder)


def test_other_tokens_than_the_checkpoints_are_found_out(parts):
    graph = compile_graph(*parts)
    with pytest.raises(DataError, match="only one side has 'n' 'z'"):
        graph.check_tokens(("<blk>", " ", "a", "b", "z"))
    with pytest.raises(DataError, match="another order"):
        graph.check_tokens(("<blk>", " ", "b", "a", "n"))


def test_a_missing_or_damaged_graph_names_its_stage(parts, tmp_path):
    with pytest.raises(DataError, match="ds2 graph"):
        Graph.load(tmp_path / "none")
    graph = compile_graph(*parts)
    whole = graph.fst.read_bytes()
    graph.fst.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="damaged"):
        Graph.load(graph.folder)
    graph.fst.write_bytes(whole)
    meta = graph.folder / "meta.json"
    for content in ("{", "{}", json.dumps([1]), json.dumps({"bytes": 5})):
        meta.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match="ds2 graph"):
            Graph.load(graph.folder)


def test_a_graph_that_k2_could_not_index_is_refused_before_it_is_begun(parts):
    """The head of the file announces an unpruned model; nothing behind it is read."""
    tokens, lexicon, arpa, folder = parts
    arpa.write_text(
        "\\data\\\nngram 1=200003\nngram 2=38229161\nngram 3=49712290\n\n\\1-grams:\n-1\ta\n\\end\\\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"49,712,290 3-grams.*32-bit.*134,217,728[.]\n.*prune:.*ds2 lm.*rescore"):
        compile_graph(tokens, lexicon, arpa, folder)
    assert not folder.exists()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_size_of_a_graph_is_known_within_a_small_factor(tmp_path, order):
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 8))) for _ in range(80)]
    text = [list(rng.choice(words, 8, p=(weights := 1 / np.arange(1, 81)) / weights.sum())) for _ in range(400)]
    vocabulary = Vocabulary.english_characters()
    lexicon, _ = Lexicon.from_words({word for sentence in text for word in sentence}, vocabulary, "english")
    write_arpa(estimate(text, order), tmp_path / "lm.arpa")
    estimated = graph_arcs(announced(tmp_path / "lm.arpa"), lexicon)
    num_arcs = compile_graph(vocabulary.tokens, lexicon, tmp_path / "lm.arpa", tmp_path / "graph").meta["num_k2_arcs"]
    assert num_arcs / 3 < estimated < 3 * num_arcs


def test_a_larger_model_is_kept_with_the_graph_and_followed_exactly(parts):
    tokens, lexicon, arpa, folder = parts
    text = [line.split() for line in TEXTS["english"][1]]
    larger = estimate([words for words in text if "ban" not in words], 3)
    write_arpa(larger, folder.with_name("larger.arpa"))
    graph = compile_graph(tokens, lexicon, arpa, folder, folder.with_name("larger.arpa"))
    assert Graph.load(folder) == graph and graph.k2_files[-1] == graph.larger_lm
    assert graph.meta["num_words_outside_rescoring_lm"] == 1
    model = BackOffModel(graph.larger_lm)
    sentences = list(itertools.product(range(1, len(graph.words)), repeat=3))
    histories, total = np.full(len(sentences), model.start), np.zeros(len(sentences))
    for words in (*np.array(sentences).T, np.full(len(sentences), END)):
        histories, log_probs = model.follow(histories, words)
        total += log_probs
    for numbers, score in zip(sentences, total, strict=True):
        words = (BOS, *graph.spell(numbers), EOS)
        known = "ban" not in words
        exact = sum(larger.log10_prob(word, words[:n]) for n, word in enumerate(words[1:], 1)) if known else -math.inf
        assert score == pytest.approx(exact * math.log(10), abs=1e-4)
    graph.larger_lm.write_bytes(b"cut off")
    with pytest.raises(DataError, match="damaged"):
        Graph.load(folder)


def test_a_damaged_larger_model_leaves_no_graph(parts):
    tokens, lexicon, arpa, folder = parts
    larger = folder.with_name("larger.arpa")
    larger.write_bytes(arpa.read_bytes()[:-40])
    with pytest.raises(DataError, match="larger.arpa"):
        compile_graph(tokens, lexicon, arpa, folder, larger)
    assert not folder.exists()


def test_kaldi_decoder_says_when_no_final_state_was_reached(parts):
    """With room for few states, the search throws away all that could end: "ba" begins a word and is none."""
    graph = compile_graph(*parts)
    narrow = SearchConfig(search_beam=0.5, output_beam=0.5, min_active=30, max_active=1)
    empty, whole, cut = KaldiDecoder(graph).decode(
        [one_hot(graph.tokens, f) for f in ("", "b an", "b ban ba")], narrow
    )
    assert empty == ((), -math.inf, False)
    assert whole.reached_final and graph.spell(whole.word_ids) == ("b", "an")
    assert not cut.reached_final and cut.score > -math.inf and graph.spell(cut.word_ids)[:2] == ("b", "ban")
    assert KaldiDecoder(graph).decode([one_hot(graph.tokens, "b ban ba")], WIDE)[0].reached_final


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 4)), np.zeros(5), np.full((2, 5), np.nan), np.full((2, 5), np.inf)]
)
def test_arrays_that_cannot_be_decoded_are_refused(parts, wrong):
    with pytest.raises(ValueError, match="utterance 0"):
        KaldiDecoder(compile_graph(*parts)).decode([wrong], WIDE)
