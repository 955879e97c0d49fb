"""Compressed recordings made into FLAC: the same samples, once only, what is damaged reported."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from ds2toolkit.data import convert
from ds2toolkit.data.convert import to_flac
from ds2toolkit.data.corpus import Corpus
from ds2toolkit.data.report import Report
from ds2toolkit.toy.sphere import write_sphere

RATE_HZ = 16_000
V1, V2 = "shorten-v1.09", "shorten-v2.00"
CODINGS = {"01ic0201": V1, "01ic0202": V2, "440c0401": "pcm", "4k0c0301": V2}


def speechlike(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(4000 + seed) * 500).astype(np.int16)


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    """Four SPHERE files of both kinds, then one of FLAC."""
    corpus = Corpus(Report())
    for seed, (name, coding) in enumerate(CODINGS.items()):
        write_sphere(tmp_path / f"{name}.wv1", speechlike(seed), RATE_HZ, coding)
        corpus.add("train", tmp_path / f"{name}.wv1", name, f"text of {name}", name[:3], condition="quiet")
    soundfile.write(tmp_path / "x.flac", speechlike(9), RATE_HZ)
    corpus.add("train", tmp_path / "x.flac", "x", "text of x", "me")
    return corpus


def converted(corpus: Corpus, folder, num_jobs: int = 1) -> tuple[list, Report]:
    report = Report()
    return to_flac("train", corpus.cuts()["train"], folder, num_jobs, report), report


def test_cuts_stay_as_they_are_but_for_their_files(corpus, tmp_path):
    before = list(corpus.cuts()["train"])
    after, report = converted(corpus, tmp_path / "audio")
    assert [cut.id for cut in after] == [*CODINGS, "x"] and not report.dropped
    for seed, (old, new) in enumerate(zip(before[:4], after[:4], strict=True)):
        assert replace(new, recording=old.recording) == old
        samples, rate_hz = soundfile.read(new.recording.sources[0].source, dtype="int16")
        assert np.array_equal(samples, speechlike(seed)) and rate_hz == RATE_HZ
        assert np.array_equal(new.load_audio()[0], speechlike(seed).astype(np.float32) / 32768)
    assert after[2] == before[2] and after[4] == before[4]
    written = sorted(str(path.relative_to(tmp_path / "audio")) for path in tmp_path.rglob("audio/*/*"))
    assert written == ["01i/01ic0201.flac", "01i/01ic0202.flac", "4k0/4k0c0301.flac"]


def test_cuts_of_one_id_and_cuts_without_audio_pass_as_they_are(corpus, tmp_path):
    *_, cut = corpus.cuts()["train"]
    silent = replace(cut, recording=None)
    report = Report()
    assert to_flac("train", [cut, silent, cut], tmp_path / "audio", 1, report) == [cut, silent, cut]
    assert not report.dropped


def test_processes_write_the_same_files(corpus, tmp_path, monkeypatch):
    alone, _ = converted(corpus, tmp_path / "one")
    monkeypatch.setattr(convert, "FILES_A_PROCESS", 1)
    (tmp_path / "4k0c0301.wv1").write_bytes((tmp_path / "4k0c0301.wv1").read_bytes()[:2000])
    together, report = converted(corpus, tmp_path / "two", num_jobs=2)
    assert [cut.id for cut in together] == ["01ic0201", "01ic0202", "440c0401", "x"]
    assert [dropped[:3] for dropped in report.dropped] == [("train", "4k0c0301", "audio cannot be read")]
    for name in ("01i/01ic0201.flac", "01i/01ic0202.flac"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_is_converted_stays_until_its_source_changes(corpus, tmp_path):
    flac, source = tmp_path / "audio/01i/01ic0201.flac", tmp_path / "01ic0201.wv1"
    converted(corpus, tmp_path / "audio")
    stamp = flac.stat().st_ino
    converted(corpus, tmp_path / "audio")
    assert flac.stat().st_ino == stamp
    os.utime(source, (flac.stat().st_mtime + 5,) * 2)
    converted(corpus, tmp_path / "audio")
    assert flac.stat().st_ino != stamp


def test_a_file_of_another_recording_or_of_none_is_replaced(corpus, tmp_path):
    flac = tmp_path / "audio/01i/01ic0201.flac"
    converted(corpus, tmp_path / "audio")
    whole = flac.read_bytes()
    soundfile.write(flac, speechlike(7), RATE_HZ)
    converted(corpus, tmp_path / "audio")
    assert flac.read_bytes() == whole
    flac.write_bytes(b"")
    converted(corpus, tmp_path / "audio")
    assert flac.read_bytes() == whole


def test_what_cannot_be_decoded_is_reported_and_leaves_no_file(corpus, tmp_path):
    source = tmp_path / "01ic0202.wv1"
    source.write_bytes(source.read_bytes()[:1500])
    cuts, report = converted(corpus, tmp_path / "audio")
    assert [cut.id for cut in cuts] == ["01ic0201", "440c0401", "4k0c0301", "x"]
    ((split, utterance_id, reason, detail),) = report.dropped
    assert (split, utterance_id, reason) == ("train", "01ic0202", "audio cannot be read")
    assert str(source) in detail and not list(tmp_path.rglob("*01ic0202*.flac"))


def test_processes_that_convert_load_neither_torch_nor_lhotse():
    program = "import sys, ds2toolkit.data.sphere; print({'torch', 'lhotse'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
