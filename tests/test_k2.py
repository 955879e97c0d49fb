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
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import AuthenticationError, Client
from pathlib import Path

import numpy as np
import pytest

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import fsts, k2_process, k2_worker
from ds2toolkit.decode.graph import compile_graph
from ds2toolkit.decode.align import align
from ds2toolkit.decode.k2_search import K2Search
from ds2toolkit.decode.k2_worker import K2Worker, k2_available, open_k2
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.decode.paths import Beams, BestPath
from ds2toolkit.errors import DataError, UserError
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
        "import json, sys; sys.path.insert(0, sys.argv[1]); import numpy as np, k2_process\n"
        "k2_process.find_ds2toolkit(); from ds2toolkit.decode.k2_decoder import K2Decoder\n"
        "decoder = K2Decoder(sys.argv[2], sys.argv[3])\n"
        f"log_probs = [np.load(sys.argv[4] + f'/{{number}}.npy') for number in range({len(log_probs)})]\n"
        "print(json.dumps(decoder.decode(log_probs, (100.0, 50.0, 0, 10000))))"
    )
    here = Path(k2_process.__file__).parent
    command = [PYTHON, "-I", "-c", script, here, graph.k2_arcs, graph.k2_words, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    paths = [BestPath(tuple(words), score, final) for words, score, final in json.loads(done.stdout)]
    assert_same(paths, KaldiDecoder(graph).decode(log_probs, WIDE))


def test_what_the_worker_loads_needs_nothing_but_k2_torch_and_numpy():
    folder, seen, left = Path(k2_process.__file__).parent, set(), ["k2_process"]
    while left:
        seen.add(name := left.pop())
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        ours = {name for name in names if name.startswith("ds2toolkit")}
        assert all(name.startswith("ds2toolkit.decode.") for name in ours), name
        assert {name.partition(".")[0] for name in names - ours} - set(sys.stdlib_module_names) <= {"k2", "torch", "numpy"}
        left += {name.rpartition(".")[2] for name in ours} - seen
    assert seen == {"k2_process", "k2_decoder", "lattice", "backoff", "paths"}


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
    with pytest.raises(UserError, match=r"(?s)exit code 1; its last words: ValueError: "):
        K2Worker(type(graph)(damaged, graph.tokens, graph.words, {}), PYTHON)


@needs_k2
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_died_of_a_large_batch_is_started_again_and_given_halves(graph, own, caplog, death):
    log_probs = utterances(graph, 6)
    first = own.engine.process.pid
    own.engine.process.send_signal(death)
    with caplog.at_level(logging.WARNING):
        paths = own.decode(log_probs, WIDE)
    assert own.engine.process.pid != first
    assert death.name in caplog.text and "a batch of 6 utterances" in caplog.text and "in halves" in caplog.text
    assert_same(paths, KaldiDecoder(graph).decode(log_probs, WIDE))


@pytest.fixture
def little_memory(own):
    """Half a gigabyte more than the worker has; k2 makes room for max_active states an utterance in advance."""
    own.decode(utterances(own.graph, 3), WIDE)
    pid = own.engine.process.pid
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    limit = int(status["VmSize"].split()[0]) * 1024 + 2**29
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    return own


@needs_k2
def test_a_batch_that_needs_too_much_memory_is_decoded_in_halves(graph, little_memory, caplog):
    log_probs = utterances(graph, 60)
    with caplog.at_level(logging.WARNING):
        paths = little_memory.decode(log_probs, replace(WIDE, max_active=400_000))
    assert "k2 ran out of memory on a batch of 60 utterances" in caplog.text
    assert "tighter beams" not in caplog.text
    assert_same(paths, KaldiDecoder(graph).decode(log_probs, WIDE))


@needs_k2
def test_an_utterance_that_needs_too_much_memory_alone_is_decoded_with_tighter_beams(graph, little_memory, caplog):
    log_probs = utterances(graph, 2)[1:]
    large = SearchConfig(search_beam=400.0, output_beam=200.0, min_active=0, max_active=40_000_000)
    with caplog.at_level(logging.WARNING):
        paths = little_memory.decode(log_probs, large)
    assert "tighter beams: search_beam 200, output_beam 100, max_active 20000000" in caplog.text
    assert_same(paths, KaldiDecoder(graph).decode(log_probs, WIDE))


def hungry(most):
    """An engine that has room for so many frames; it stands in for no search that these tests look at."""

    class Engine:
        tried = []

        def decode(self, log_probs, beams):
            self.tried.append((len(log_probs), beams))
            if sum(map(len, log_probs)) > most:
                raise MemoryError("out of memory")
            return [BestPath((), float(len(log_probs_SV)), True) for log_probs_SV in log_probs]

        nbest = rescore = align = None

    return Engine()


def test_halves_are_put_together_in_order(graph):
    engine, log_probs = hungry(100), utterances(graph, 13)
    found = K2Search(graph, engine).decode(log_probs, WIDE)
    assert [path.score for path in found] == [len(log_probs_SV) for log_probs_SV in log_probs]
    assert engine.tried[0][0] == 13 and {beams for _, beams in engine.tried} == {Beams(100.0, 50.0, 0, 10000)}


def test_memory_that_never_suffices_is_the_users_to_mend(graph):
    engine = hungry(0)
    with pytest.raises(UserError, match="more memory"):
        K2Search(graph, engine).decode(utterances(graph, 3)[1:], WIDE)
    assert engine.tried[:3] == [(2, Beams(100.0, 50.0, 0, 10000)), (1, Beams(100.0, 50.0, 0, 10000)), (1, Beams(50.0, 25.0, 0, 5000))]
    assert len(engine.tried) == 6


@needs_k2
def test_k2_aligns_as_our_own_viterbi_does(graph, shared):
    rng = np.random.default_rng(0)
    log_probs = utterances(graph, 40)[1:]
    targets = [rng.integers(1, len(ENGLISH), rng.integers(0, 1 + len(one) // 2)).tolist() for one in log_probs]
    for one, wanted, found in zip(log_probs, targets, shared.align(log_probs, targets), strict=True):
        ours = align(one, wanted)
        assert found.score == pytest.approx(ours.score, abs=1e-3)
        tokens = [wanted[position] if position >= 0 else 0 for position in found.position_S]
        assert one.astype(np.float64)[range(len(one)), tokens].sum() == pytest.approx(ours.score, abs=1e-3)
        assert len(found.spans) == len(wanted)
    with pytest.raises(DataError, match="2 frames cannot say 2 tokens, which need 3"):
        shared.align([log_probs[0], np.zeros((2, 5))], [[], [2, 2]])


@needs_k2
def test_a_connection_without_the_key_is_refused_and_the_right_one_still_comes_in(graph, tmp_path):
    address, key = str(tmp_path / "socket"), secrets.token_bytes(32)
    command = [PYTHON, "-I", k2_process.__file__, address, graph.k2_arcs, graph.k2_words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as worker:
        worker.stdin.write(key.hex() + "\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "ready\n"
        with pytest.raises(AuthenticationError):
            Client(address, family="AF_UNIX", authkey=b"wrong")
        with Client(address, family="AF_UNIX", authkey=key) as connection:
            assert k2_process.receive(connection)[0]["socket"] == "removed" and not Path(address).exists()
            k2_process.send(connection, {"method": "decode", "arguments": [[20.0, 8.0, 30, 10000]]}, utterances(graph, 2))
            header, _ = k2_process.receive(connection)
            assert len(header["found"]) == 2
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
    k2_process.send(ours, {"beams": [1.5, -math.inf]}, arrays)
    header, back = k2_process.receive(theirs)
    assert header["beams"] == [1.5, -math.inf]
    assert len(back) == 3 and all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))
    k2_process.send(ours, {})
    assert k2_process.receive(theirs)[1] == []
    ours.close()
    with pytest.raises(EOFError):
        k2_process.receive(theirs)
