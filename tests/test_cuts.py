"""Cuts on disk: any place at once, the same cuts for lhotse, and never those of another or a damaged file."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data.packed import CUTS_A_MEMBER, Cuts
from ds2toolkit.errors import DataError


def made(number: int, text: str = "hello") -> MonoCut:
    name, duration = f"utt{number}", 1 + number / 100
    source = AudioSource("file", [0], f"/nowhere/{name}.flac")
    recording = Recording(name, [source], 16000, round(16000 * duration), duration)
    supervision = SupervisionSegment(name, name, 0.0, duration, text=text, speaker="Ann", custom={"condition": "café"})
    return MonoCut(name, 0.0, duration, 0, supervisions=[supervision], recording=recording)


CUTS = [made(number, "aab" * (number % 5)) for number in range(2 * CUTS_A_MEMBER + 7)]


@pytest.fixture
def path(tmp_path):
    cut_files.write(CUTS, tmp_path / "cuts.jsonl.gz")
    return tmp_path / "cuts.jsonl.gz"


def test_what_is_written_comes_back_in_order_and_by_place(path):
    cuts = cut_files.read(path)
    assert list(cuts) == CUTS and len(cuts) == len(CUTS)
    for place in (0, CUTS_A_MEMBER - 1, CUTS_A_MEMBER, len(CUTS) - 1, -1):
        assert cuts[place] == CUTS[place]
    assert list(cuts[5:70:3]) == CUTS[5:70:3]
    with pytest.raises(IndexError):
        cuts[len(CUTS)]


def test_durations_and_frames_are_known_without_making_a_cut(path):
    cuts = cut_files.read(path)
    assert cuts.durations_s.tolist() == [cut.duration for cut in CUTS]
    assert cuts.min_frames[:5].tolist() == [0, 4, 8, 12, 16]


def test_lhotse_reads_the_same_cuts(path):
    assert list(CutSet.from_file(path)) == CUTS


def test_a_list_of_lhotse_is_read_without_an_index(tmp_path):
    CutSet.from_cuts(CUTS).to_file(tmp_path / "cuts.jsonl.gz")
    cuts = cut_files.read(tmp_path / "cuts.jsonl.gz")
    assert list(cuts) == CUTS and cuts.min_frames[1] == 4


def test_the_same_cuts_are_the_same_bytes(path, tmp_path):
    other = tmp_path / "other" / "cuts.jsonl.gz"
    cut_files.write((cut for cut in CUTS), other)
    for one, two in ((path, other), (cut_files.index_of(path), cut_files.index_of(other))):
        assert one.read_bytes() == two.read_bytes()


def test_no_cut_at_all(tmp_path):
    cut_files.write([], tmp_path / "cuts.jsonl.gz")
    assert list(cut_files.read(tmp_path / "cuts.jsonl.gz")) == []


def test_changed_cuts_are_not_taken_for_those_of_the_index(path):
    CutSet.from_cuts(CUTS[:50]).to_file(path)
    with pytest.raises(DataError, match=r"cuts\.jsonl\.gz .* cuts\.index\.npz .* delete it if you changed"):
        cut_files.read(path)
    cut_files.index_of(path).unlink()
    assert list(cut_files.read(path)) == CUTS[:50]


@pytest.mark.parametrize("with_index", [True, False])
def test_damage_is_named(path, with_index):
    raw, ends = path.read_bytes(), np.cumsum([len(member) for member in cut_files.read(path).members])
    flipped = bytearray(raw)
    flipped[int(ends[0]) + 100] ^= 255
    cut_off_between_members = [raw[: ends[0]]] if with_index else []
    if not with_index:
        cut_files.index_of(path).unlink()
    for damaged in (raw[:-20], bytes(flipped), b"not cuts", *cut_off_between_members):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cuts\.jsonl\.gz is not a whole list of cuts: \w"):
            cut_files.read(path)


def test_a_damaged_index_is_named(path):
    index = cut_files.index_of(path)
    index.write_bytes(index.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cuts\.jsonl\.gz is not a whole"):
        cut_files.read(path)


def test_cuts_written_anew_but_not_their_index_are_the_new_ones(path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        cut_files.write(CUTS[10:], path)
    assert list(cut_files.read(path)) == CUTS[10:]


@given(st.lists(st.integers(0, 40)), st.data())
def test_joined_and_taken_cuts_are_those_of_lists(sizes, data):
    parts = [CUTS[:size] for size in [*sizes[:3], 5]]
    plain = [cut for part in parts for cut in part]
    joined = Cuts.joined([Cuts.of(part) for part in parts])
    places = np.array(data.draw(st.lists(st.integers(0, len(plain) - 1), max_size=10)), int)
    taken = pickle.loads(pickle.dumps(joined.take(places)))
    assert [cut.id for cut in joined] == [cut.id for cut in plain]
    assert list(taken) == [taken[place] for place in range(len(places))] == [plain[place] for place in places]
    assert taken.durations_s.tolist() == [plain[place].duration for place in places]
    assert len(taken.members) <= len(set(places.tolist()))
