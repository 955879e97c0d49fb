"""Word pieces: trained the same every time, told when the text can't give them, right in every decoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_cli import new_recipe

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig, SearchConfig, TrainConfig, from_dict
from ds2toolkit.data import cuts as cut_files
from ds2toolkit.decode import fsts
from ds2toolkit.decode.emissions import graph_text, greedy_text, greedy_words
from ds2toolkit.decode.graph import Graph, compile_graph
from ds2toolkit.decode.k2_worker import k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.errors import ConfigError, UserError
from ds2toolkit.recipe import load
from ds2toolkit.text import ngram, pieces
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.vocabulary import BLANK, Vocabulary
from ds2toolkit.verbs import graph as graph_stage
from ds2toolkit.verbs import lang, lm

LINES = ["the cat sat on the mat", "a dog ran", "the dog's mat", "seven cats ran on the hill", "a cat on a hill"]
SMALL = {"conv": {"channels": [2], "kernels": [[5, 3]], "strides": [[8, 2]]}, "num_rnn_layers": 1, "rnn_size": 4}
WIDE = SearchConfig(search_beam=100.0, output_beam=50.0, min_active=0, max_active=10000)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_same_text_gives_the_same_model_with_the_blank_first(kind):
    model = pieces.train(LINES, kind, 24)
    assert model == pieces.train(iter(LINES), kind, 24)
    assert len(model.tokens) == 24 and model.tokens[0] == BLANK
    assert set("".join(LINES)) - {" "} <= set(model.tokens)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_size_out_of_reach_is_told_with_the_one_in_reach(kind):
    with pytest.raises(UserError, match=r"no 5000 word pieces, at most (\d+)") as error:
        pieces.train(LINES, kind, 5000)
    most = int(str(error.value).partition("at most ")[2].split(";")[0])
    assert len(pieces.train(LINES, kind, most).tokens) == most
    for size in (-1, 0, 3):
        with pytest.raises(UserError, match="too many characters.*at least 1"):
            pieces.train(LINES, kind, size)


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def vocabulary(request):
    return Vocabulary.of_pieces(pieces.train(LINES, request.param, 30 if request.param == "bpe" else 24))


@pytest.fixture(scope="module", params=["standard", "linear"])
def graph(request, vocabulary, tmp_path_factory) -> Graph:
    folder = tmp_path_factory.mktemp("pieces")
    ngram.write_arpa(ngram.estimate([line.split() for line in LINES], 2), folder / "G.arpa")
    lexicon, left_out = Lexicon.from_words({w for line in LINES for w in line.split()}, vocabulary, "english")
    assert not left_out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsts, "MAX_STANDARD", 500 if request.param == "standard" else 0)
        graph = compile_graph(vocabulary.tokens, lexicon, folder / "G.arpa", folder / "graph")
    assert graph.meta["topology"] == request.param
    return graph


@pytest.fixture
def recogniser(vocabulary):
    training = from_dict(TrainConfig, {"model": SMALL}, "test")
    return Recogniser.new(training, vocabulary, FeatureConfig(), None, "english", "word")


def spoken(vocabulary: Vocabulary, text: str) -> np.ndarray:
    """Log-probabilities of a network that is nearly sure: two frames a piece, a blank between."""
    ids = [frame for number in vocabulary.encode(text) for frame in (number, number, 0)]
    logits = np.random.default_rng(len(text)).normal(size=(len(ids), len(vocabulary)))
    logits[range(len(ids)), ids] += 12
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def test_all_decoders_find_the_text(recogniser, vocabulary, graph):
    texts = [*LINES, "seven dog's ran a mat", "hill hill cats"]
    log_probs = [spoken(vocabulary, text) for text in texts]
    assert [greedy_text(recogniser, one) for one in log_probs] == texts
    decoders = [KaldiDecoder, open_k2] if k2_available() else [KaldiDecoder]
    found = {}
    for open_decoder in decoders:
        with open_decoder(graph) as decoder:
            paths = decoder.decode(log_probs, WIDE)
        assert [graph_text(recogniser, graph.spell(path.word_ids)) for path in paths] == texts
        assert all(path.reached_final for path in paths)
        found[open_decoder] = [path.score for path in paths]
    np.testing.assert_allclose(*(found[decoder] for decoder in (decoders[0], decoders[-1])), atol=1e-3)


def test_words_have_the_times_of_their_pieces(recogniser, vocabulary):
    """The last word's start and the first one's end are those of pieces with letters; a lone ▁ is but a space."""
    words = greedy_words(recogniser, spoken(vocabulary, "the cats ran"))
    assert [word["word"] for word in words] == ["the", "cats", "ran"]
    tokens = [vocabulary.tokens[number] for number in vocabulary.encode("the cats ran")]
    begins = [place for place, token in enumerate(tokens) if token.startswith("▁")]
    starts = [place + (tokens[place] == "▁") for place in begins]
    ends = [*begins[1:], len(tokens)]
    assert [word["start_s"] for word in words] == pytest.approx([0.06 * place for place in starts])
    assert [word["end_s"] for word in words] == pytest.approx([0.06 * place - 0.04 for place in ends])


@pytest.fixture
def recipe(tmp_path, tone_cuts) -> Path:
    """A recipe whose `prepare` is done, with some English for its training text."""
    folder = new_recipe(tmp_path / "mine", "vocabulary: {kind: bpe, size: 30}\nlm: {order: 2}\n")
    write_cuts(folder, tone_cuts, LINES)
    return folder


def write_cuts(folder: Path, cuts: list, lines: list[str]) -> None:
    pairs = list(zip(cuts, lines, strict=False))
    said = [replace(cut, supervisions=[replace(cut.supervisions[0], text=text)]) for cut, text in pairs]
    for split in ("train", "dev"):
        cut_files.write(said, folder / "data" / split / "cuts.jsonl.gz")


def test_the_stages_make_pieces_and_a_graph_of_them(recipe, capsys):
    recipe = load(recipe)
    for stage in (lang, lm, graph_stage):
        stage.run(recipe)
    assert "30 tokens in" in capsys.readouterr().out
    vocabulary = Vocabulary.read(recipe.lang / "tokens.txt")
    assert vocabulary == Vocabulary.of_pieces(pieces.train(LINES, "bpe", 30))
    graph = Graph.load(recipe.lang / "graph")
    graph.check_tokens(vocabulary.tokens)
    assert set(graph.words[1:]) == {word for line in LINES for word in line.split()}


def test_pieces_of_characters_are_refused(tmp_path):
    folder = new_recipe(tmp_path / "mine", "unit: character\nvocabulary: {kind: unigram, size: 30}\n")
    (folder / "data" / "train").mkdir(parents=True)
    (folder / "data" / "train" / "cuts.jsonl.gz").touch()
    with pytest.raises(ConfigError, match="unit: character needs vocabulary: {kind: characters}"):
        lang.run(load(folder))


def test_mandarin_is_spelled_and_modelled_by_characters(tmp_path, tone_cuts):
    folder = new_recipe(tmp_path / "mine", "language: mandarin\nunit: character\nlm: {order: 2}\n")
    write_cuts(folder, tone_cuts, ["中国人", "人中k", "中国中"])
    recipe = load(folder)
    for stage in (lang, lm, graph_stage):
        stage.run(recipe)
    assert Vocabulary.read(recipe.lang / "tokens.txt").tokens == (BLANK, "中", "人", "国", "k")
    model = ngram.read_arpa(recipe.lang / "G.arpa")
    assert model.words == {"中", "国", "人", "k", ngram.EOS, ngram.UNK}
    assert model.log10_prob("国", ["中"]) > model.log10_prob("k", ["中"])
    assert Graph.load(recipe.lang / "graph").words == ("<eps>", "k", "中", "人", "国")
