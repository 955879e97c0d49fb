"""k2 and kaldi-decoder on real speech: the same words, scores and alignments on AN4's test utterances."""

from pathlib import Path

import pytest
import torch

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig, SearchConfig, TrainConfig, from_dict
from ds2toolkit.data.batch import Utterances
from ds2toolkit.data.cuts import Checker
from ds2toolkit.data.features import FeatureStats
from ds2toolkit.data.report import Report
from ds2toolkit.data.store import load_features
from ds2toolkit.decode.align import align
from ds2toolkit.decode.emissions import emissions
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.k2_worker import HOW_TO_GET_K2, k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder, StreamingDecoder
from ds2toolkit.decode.paths import INSTEAD
from ds2toolkit.recipe import load
from ds2toolkit.text import ngram
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.train.loop import Run

FEATURES = FeatureConfig(storage="on_the_fly")
SMALL = {
    "num_epochs": 14,
    "model": {"conv": {"channels": [8], "kernels": [[41, 11]], "strides": [[4, 2]]}, "num_rnn_layers": 2, "rnn_size": 64},
    "optimiser": {"kind": "adamw", "learning_rate": 3e-3, "schedule": "one_cycle", "loss_reduction": "mean"},
    "batches": {"budget_s": 30, "num_workers": 0},
}
WIDE = SearchConfig(search_beam=60.0, output_beam=12.0, min_active=200, max_active=20000)


@pytest.fixture(scope="module")
def an4(real_speech) -> dict[str, list]:
    """AN4's cuts, read and checked as `ds2 prepare` does."""
    recipe = load(Path(__file__).parent.parent / "egs/an4")
    splits = recipe.preparer.prepare(real_speech / "an4", Report())
    return {
        name: Checker(name, name == "test", "english", FEATURES).check(cuts, Report(), 1)
        for name, cuts in splits.items()
    }


@pytest.fixture(scope="module")
def log_probs(an4, tmp_path_factory) -> list:
    """Log-probabilities of the test set by a small network, some seconds into its training on real speech."""
    torch.set_flush_denormal(True)
    config = from_dict(TrainConfig, SMALL, "test")
    train = an4["train"][::2]
    stats = FeatureStats.of(load_features(cut, FEATURES) for cut in train[::5])
    recogniser = Recogniser.new(config, Vocabulary.english_characters(), FEATURES, stats, "english", "word")
    parts = [Utterances(cuts, recogniser.vocabulary, FEATURES, stats) for cuts in (train, an4["dev"][:8])]
    Run(tmp_path_factory.mktemp("an4"), recogniser, *parts).run()
    found = dict(emissions(recogniser, Utterances(an4["test"], None, FEATURES, stats), "an4"))
    return [found[cut.id] for cut in an4["test"]]


@pytest.fixture(scope="module")
def graph(an4, tmp_path_factory):
    """Of a bigram, with a trigram to rescore with."""
    folder = tmp_path_factory.mktemp("graph")
    sentences = [cut.supervisions[0].text.split() for cut in an4["train"]]
    for order in (2, 3):
        ngram.write_arpa(ngram.estimate(sentences, order), folder / f"{order}.arpa")
    vocabulary = Vocabulary.english_characters()
    lexicon, left_out = Lexicon.from_words({word for words in sentences for word in words}, vocabulary, "english")
    assert not left_out
    return compile_graph(vocabulary.tokens, lexicon, folder / "2.arpa", folder / "graph", folder / "3.arpa")


needs_k2 = pytest.mark.skipif(not k2_available(), reason=f"k2 is not installed. {HOW_TO_GET_K2}")


@needs_k2
def test_k2_and_kaldi_decoder_agree_on_an4(graph, log_probs):
    assert len(log_probs) == 130
    with open_k2(graph) as k2, KaldiDecoder(graph) as kaldi:
        ours = [path for start in range(0, 130, 10) for path in k2.decode(log_probs[start : start + 10], WIDE)]
        theirs = kaldi.decode(log_probs, WIDE)
    assert all(path.reached_final for path in ours + theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert one.word_ids == other.word_ids
    assert len({path.word_ids for path in ours}) > 10


@needs_k2
def test_rescoring_finds_better_paths_by_the_larger_model_and_the_lattice_no_worse_than_the_list(graph, log_probs):
    with open_k2(graph) as k2:
        lists = k2.nbest(log_probs[:40], SearchConfig(), 20)
        lattices = k2.rescore(log_probs[:40], SearchConfig(), [(1.0, 0.0), (0.0, 1.0)])
        best = k2.decode(log_probs[:40], SearchConfig())
    for paths, (first, rescored), path in zip(lists, lattices, best, strict=True):
        assert first.word_ids == paths[0].word_ids == path.word_ids
        assert first.score() == pytest.approx(path.score, abs=1e-3)
        assert rescored.score(*INSTEAD) >= max(one.score(*INSTEAD) for one in paths) - 1e-3
    assert any(rescored.word_ids != first.word_ids for first, rescored in lattices)


def test_streams_say_what_whole_utterances_do(graph, log_probs):
    stream, whole = StreamingDecoder(graph, SearchConfig()), KaldiDecoder(graph).decode(log_probs[:20], SearchConfig())
    for log_probs_SV, path in zip(log_probs, whole, strict=False):
        for start in range(0, len(log_probs_SV), 25):
            stream.accept(log_probs_SV[start : start + 25])
        assert stream.finish()[::2] == path[::2]


@needs_k2
def test_both_alignments_are_as_likely(an4, graph, log_probs):
    targets = [Vocabulary.english_characters().encode(cut.supervisions[0].text) for cut in an4["test"]]
    with open_k2(graph) as k2:
        for log_probs_SV, wanted, theirs in zip(log_probs, targets, k2.align(log_probs, targets), strict=True):
            ours = align(log_probs_SV, wanted)
            assert ours.score == pytest.approx(theirs.score, abs=1e-2)
            assert len(ours.spans) == len(theirs.spans) == len(wanted)
