"""k2 and kaldi-decoder on real speech: the same words and the same scores on AN4's test utterances."""

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
from ds2toolkit.decode.emissions import emissions
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.k2_worker import HOW_TO_GET_K2, k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
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
    torch.set_num_threads(2)
    config = from_dict(TrainConfig, SMALL, "test")
    train = an4["train"][::2]
    stats = FeatureStats.of(load_features(cut, FEATURES) for cut in train[::5])
    recogniser = Recogniser.new(config, Vocabulary.english_characters(), FEATURES, stats, "english", "word")
    parts = [Utterances(cuts, recogniser.vocabulary, FEATURES, stats) for cuts in (train, an4["dev"][:8])]
    Run(tmp_path_factory.mktemp("an4"), recogniser, *parts).run()
    found = dict(emissions(recogniser, Utterances(an4["test"], None, FEATURES, stats), "an4"))
    torch.set_num_threads(1)
    return [found[cut.id] for cut in an4["test"]]


@pytest.mark.skipif(not k2_available(), reason=f"k2 is not installed. {HOW_TO_GET_K2}")
def test_k2_and_kaldi_decoder_agree_on_an4(an4, log_probs, tmp_path):
    sentences = [cut.supervisions[0].text.split() for cut in an4["train"]]
    ngram.write_arpa(ngram.estimate(sentences, 2), tmp_path / "G.arpa")
    vocabulary = Vocabulary.english_characters()
    tokens = vocabulary.tokens
    lexicon, left_out = Lexicon.from_words({word for words in sentences for word in words}, vocabulary, "english")
    assert not left_out and len(log_probs) == 130
    graph = compile_graph(tokens, lexicon, tmp_path / "G.arpa", tmp_path / "graph")
    with open_k2(graph) as k2, KaldiDecoder(graph) as kaldi:
        ours = [path for start in range(0, 130, 10) for path in k2.decode(log_probs[start : start + 10], WIDE)]
        theirs = kaldi.decode(log_probs, WIDE)
    assert all(path.reached_final for path in ours + theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert one.word_ids == other.word_ids
    assert len({path.word_ids for path in ours}) > 10
