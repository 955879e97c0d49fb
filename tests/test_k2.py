"""k2 held to kaldi-decoder on the same graph, and its worker held to its word when things go wrong."""

import ast
import importlib.util
import json
import logging
import math
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from multiprocessing.connection import AuthenticationError, Client
from pathlib import Path

import numpy as np
import pytest

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import fsts, k2_decoder, k2_worker
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.k2_decoder import Beams
from ds2toolkit.decode.k2_worker import K2Search, K2Worker, k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.errors import UserError
from ds2toolkit.text.lexicon import Lexicon
from ds2toolkit.text.ngram import estimate, write_arpa
from ds2toolkit.text.vocabulary import Vocabulary

needs_k2 = pytest.mark.skipif(not k2_available(), reason="k2 is not installed: make k2")
PYTHON = k2_worker.worker_python() or (Path(sys.executable) if importlib.util.find_spec("k2") else None)

WIDE = SearchConfig(search_beam=100.0, output_beam=50.0, min_active=0, max_active=10000)
ENGLISH = ("<blk>", " ", "a", "b", "n")
MANDARIN = ("<blk>", "中", "国", "人")


def build(folder, tokens, lines, order):
    text = [line.split() for line in lines]
    language = "english" if " " in tokens else "mandarin"
    lexicon, _ = Lexicon.from_words({word for words in text for word in words}, Vocabulary(tokens), language)
    write_arpa(estimate(text, order), folder / "lm.arpa")
    return compile_graph(tokens, lexicon, folder / "lm.arpa", folder / "graph")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A bigram with back-off, so that HLG.fst has input epsilons."""
    return build(
        tmp_path_factory.mktemp("english"), ENGLISH, ["a b", "ab a", "an a b", "b", "a a b an", "ban a"], 2
    )


@pytest.fixture(scope="module")
def shared(graph):
    with open_k2(graph) as search:
        yield search


@pytest.fixture
def own(graph):
    """A worker that the test may ruin."""
    with K2Search(graph, K2Worker(graph, PYTHON)) as search:
        yield search


def utterances(graph, count, seed=0, max_frames=60):
    """Log-probabilities from flat to peaky; the first utterance has no frames."""
    rng = np.random.default_rng(seed)
    lengths = [0, *rng.integers(1, max_frames, count - 1)]
    logits = [rng.normal(size=(n, len(graph.tokens))) * (1, 4, 12)[i % 3] for i, n in enumerate(lengths)]
    return [(x - np.logaddexp.reduce(x, axis=1, keepdims=True)).astype(np.float32) for x in logits]


def assert_same(ours, theirs):
    assert [path.word_ids for path in ours] == [path.word_ids for path in theirs]
    assert [path.reached_final for path in ours] == [path.reached_final for path in theirs]
    np.testing.assert_allclose([p.score for p in ours], [p.score for p in theirs], atol=1e-3, rtol=0)


@needs_k2
def test_k2_and_kaldi_decoder_find_the_same_words_and_scores(graph, shared):
    log_probs = utterances(graph, 90)
    ours, theirs = shared.decode(log_probs, WIDE), KaldiDecoder(graph).decode(log_probs, WIDE)
    assert_same(ours, theirs)
    assert sum(path.reached_final for path in ours) == 89 and len({path.word_ids for path in ours}) > 60


@needs_k2
def test_they_agree_without_spaces_and_from_a_temporary_folder_of_a_long_name(tmp_path, monkeypatch):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    graph = build(tmp_path, MANDARIN, ["中国 人", "人 中", "中 国 人", "国人", "中国人 中国", "人 人"], 3)
    log_probs = utterances(graph, 40)
    with K2Search(graph, K2Worker(graph, PYTHON)) as search:
        assert_same(search.decode(log_probs, WIDE), KaldiDecoder(graph).decode(log_probs, WIDE))
        folder = search.engine.folder
    assert not folder.exists() and not list(long.iterdir())


@needs_k2
@pytest.mark.parametrize(("tokens", "order"), [(ENGLISH, 3), (MANDARIN, 1), (MANDARIN, 2)])
def test_they_agree_on_a_graph_of_the_linear_topology(tmp_path, monkeypatch, tokens, order):
    monkeypatch.setattr(fsts, "MAX_STANDARD", 0)
    lines = ["a b", "ab a", "an a b", "b", "a a b an", "ban a"]
    lines = lines if tokens == ENGLISH else ["中国 人", "人 中", "中 国 人", "国人", "中国人 中国", "人 人"]
    graph = build(tmp_path, tokens, lines, order)
    assert graph.meta["topology"] == "linear"
    log_probs = utterances(graph, 60)
    with open_k2(graph) as search:
        found = search.decode(log_probs, WIDE)
    assert_same(found, KaldiDecoder(graph).decode(log_probs, WIDE))
    assert len({path.word_ids for path in found}) > 40


@needs_k2
def test_a_batch_decodes_as_its_utterances_do(graph, shared):
    log_probs = utterances(graph, 8, seed=3)
    assert_same(shared.decode(log_probs, WIDE), [shared.decode([one], WIDE)[0] for one in log_probs])
    assert shared.decode([], WIDE) == []


@needs_k2
def test_an_utterance_that_reaches_no_final_state_says_so_and_gives_what_there_is(graph, shared):
    """All that could end lies outside the beam: "ba" begins a word and is none."""
    log_probs = np.full((8, len(ENGLISH)), -1000.0, np.float32)
    log_probs[range(8), [ENGLISH.index(token) for token in "b ban ba"]] = -0.1
    batch = [log_probs[:0], log_probs, log_probs[:5]]
    empty, cut, whole = shared.decode(batch, WIDE)
    assert empty == ((), -math.inf, False)
    assert not cut.reached_final and graph.spell(cut.word_ids)[:2] == ("b", "ban") and cut.score > -40
    assert whole.reached_final and graph.spell(whole.word_ids) == ("b", "ban")
    assert_same([empty, cut, whole], KaldiDecoder(graph).decode(batch, WIDE))


@needs_k2
def test_arrays_that_cannot_be_decoded_are_refused(shared):
    with pytest.raises(ValueError, match="utterance 1"):
        shared.decode([np.zeros((2, 5)), np.zeros((2, 6))], WIDE)


@needs_k2
def test_the_decoder_runs_in_the_process_that_has_k2(graph, tmp_path):
    """In k2's own Python, without ds2toolkit, as it runs where torch has a matching k2."""
    log_probs = utterances(graph, 12, seed=5)
    for number, log_probs_SV in enumerate(log_probs):
        np.save(tmp_path / f"{number}.npy", log_probs_SV)
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import numpy as np, k2_decoder\n"
        "decoder = k2_decoder.K2Decoder(sys.argv[2], sys.argv[3])\n"
        f"log_probs = [np.load(sys.argv[4] + f'/{{number}}.npy') for number in range({len(log_probs)})]\n"
        "print(json.dumps(decoder.decode(log_probs, k2_decoder.Beams(100.0, 50.0, 0, 10000))))\n"
        "assert 'ds2toolkit' not in sys.modules"
    )
    here = Path(k2_decoder.__file__).parent
    shutil.copy(here / "k2_decoder.py", tmp_path)
    command = [PYTHON, "-I", "-c", script, tmp_path, graph.k2_arcs, graph.k2_words, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    paths = [
        k2_decoder.BestPath(tuple(words), score, final) for words, score, final in json.loads(done.stdout)
    ]
    assert_same(paths, KaldiDecoder(graph).decode(log_probs, WIDE))


def test_the_worker_file_needs_nothing_but_k2_torch_and_numpy():
    tree = ast.parse(Path(k2_decoder.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) == {
        "k2",
        "torch",
        "numpy",
    }


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@needs_k2
@pytest.mark.parametrize("busy", [False, True])
def test_the_worker_dies_with_its_parent(graph, busy):
    """A busy worker is stood in for by a stopped one, which cannot see that its socket was closed either."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from ds2toolkit.decode.graph import Graph; from ds2toolkit.decode.k2_worker import K2Worker\n"
        "worker = K2Worker(Graph.load(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "print(worker.process.pid, flush=True); time.sleep(60)"
    )
    before = set(Path(tempfile.gettempdir()).glob("ds2-k2-*"))
    parent = subprocess.Popen(
        [sys.executable, "-c", script, graph.folder, PYTHON], stdout=subprocess.PIPE, text=True
    )
    worker = int(parent.stdout.readline())
    assert is_running(worker)
    if busy:
        os.kill(worker, signal.SIGSTOP)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(worker)
    assert set(Path(tempfile.gettempdir()).glob("ds2-k2-*")) <= before


@needs_k2
def test_a_dead_worker_is_reported_with_its_last_words(graph, own):
    own.engine.process.send_signal(signal.SIGTERM)
    with pytest.raises(UserError, match=r"died: signal SIGTERM; its last words: none"):
        own.decode(utterances(graph, 2), WIDE)
    damaged = graph.folder.with_name("damaged")
    shutil.copytree(graph.folder, damaged)
    (damaged / "k2_arcs.npy").write_bytes(graph.k2_arcs.read_bytes()[:100])
    with pytest.raises(UserError, match=r"(?s)exit code 1; its last words: ValueError: EOF"):
        K2Worker(type(graph)(damaged, graph.tokens, graph.words, {}), PYTHON)


@needs_k2
def test_a_worker_killed_for_memory_is_started_again_with_tighter_beams(graph, own, caplog):
    log_probs = utterances(graph, 6)
    first = own.engine.process.pid
    own.engine.process.send_signal(signal.SIGKILL)
    with caplog.at_level(logging.WARNING):
        paths = own.decode(log_probs, WIDE)
    assert own.engine.process.pid != first
    assert (
        "SIGKILL" in caplog.text
        and "tighter beams: search_beam 50, output_beam 25, max_active 5000" in caplog.text
    )
    assert_same(paths, KaldiDecoder(graph).decode(log_probs, WIDE))


@needs_k2
def test_a_batch_that_needs_too_much_memory_is_decoded_with_tighter_beams(graph, own, caplog):
    """k2 makes room for max_active states in advance; the limit leaves it half a gigabyte."""
    log_probs = utterances(graph, 60)
    own.decode(log_probs[:2], WIDE)
    pid = own.engine.process.pid
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    limit = int(status["VmSize"].split()[0]) * 1024 + 2**29
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    with caplog.at_level(logging.WARNING):
        paths = own.decode(
            log_probs, SearchConfig(search_beam=400.0, output_beam=200.0, min_active=0, max_active=400000)
        )
    assert "k2 ran out of memory on a batch of 60 utterances" in caplog.text
    assert "tighter beams: search_beam 200, output_beam 100, max_active 200000" in caplog.text
    assert_same(paths, KaldiDecoder(graph).decode(log_probs, WIDE))


def test_memory_that_never_suffices_is_the_users_to_mend(graph, caplog):
    class Hungry:
        tried = []

        def decode(self, log_probs, beams):
            self.tried.append(beams)
            raise MemoryError("out of memory")

    with pytest.raises(UserError, match="smaller batches"):
        K2Search(graph, Hungry()).decode(utterances(graph, 2), WIDE)
    assert (
        Hungry.tried[:2] == [Beams(100.0, 50.0, 0, 10000), Beams(50.0, 25.0, 0, 5000)]
        and len(Hungry.tried) == 5
    )


@needs_k2
def test_a_connection_without_the_key_is_refused_and_the_right_one_still_comes_in(graph, tmp_path):
    address, key = str(tmp_path / "socket"), secrets.token_bytes(32)
    command = [PYTHON, "-I", k2_decoder.__file__, address, graph.k2_arcs, graph.k2_words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as worker:
        worker.stdin.write(key.hex() + "\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "ready\n"
        with pytest.raises(AuthenticationError):
            Client(address, family="AF_UNIX", authkey=b"wrong")
        with Client(address, family="AF_UNIX", authkey=key) as connection:
            assert k2_decoder.receive(connection)[0]["socket"] == "removed" and not Path(address).exists()
            k2_decoder.send(connection, {"beams": [20.0, 8.0, 30, 10000]}, utterances(graph, 2))
            header, _ = k2_decoder.receive(connection)
            assert len(header["paths"]) == 2
        _, said = worker.communicate(timeout=10)
    assert worker.returncode == 0 and "refused a connection without the key" in said


def test_a_python_that_is_no_worker_is_reported(graph):
    before = set(Path(tempfile.gettempdir()).glob("ds2-k2-*"))
    with pytest.raises(UserError, match=r"(?s)died: exit code 1.*make k2"):
        K2Worker(graph, Path(shutil.which("false")))
    assert set(Path(tempfile.gettempdir()).glob("ds2-k2-*")) <= before


def test_without_k2_the_command_is_named(graph, tmp_path, monkeypatch):
    monkeypatch.setenv("DS2_K2_ENV", str(tmp_path / "none"))
    monkeypatch.setattr(k2_worker.importlib.util, "find_spec", lambda name: None)
    assert k2_available() is None
    with pytest.raises(UserError, match="make k2"):
        open_k2(graph)


def test_messages_arrive_as_they_were_sent():
    ours, theirs = Pipe()
    arrays = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 3), np.float32),
        np.ones((1, 3), np.float32),
    ]
    k2_decoder.send(ours, {"beams": [1.5, -math.inf]}, arrays)
    header, back = k2_decoder.receive(theirs)
    assert header["beams"] == [1.5, -math.inf]
    assert len(back) == 3 and all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))
    k2_decoder.send(ours, {})
    assert k2_decoder.receive(theirs)[1] == []
    ours.close()
    with pytest.raises(EOFError):
        k2_decoder.receive(theirs)
