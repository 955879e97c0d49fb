"""`ds2 segment`: cuts fall between words, clips whose text is not what is said are dropped and reported."""

import zlib
from itertools import groupby

import numpy as np
import pytest
import soundfile
import torch
from conftest import TONES_HZ, spell
from lhotse import CutSet

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import FeatureConfig, TrainConfig, from_dict
from ds2toolkit.decode import filtering, segments
from ds2toolkit.decode.align import Timed, align
from ds2toolkit.decode.filtering import Measured
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text.vocabulary import Vocabulary
from ds2toolkit.verbs import segment

NUM_UTTERANCES = 40
WORDS = sorted({"".join(k for k, _ in groupby(word)) for word in map("".join, np.random.default_rng(5).choice(list("abc"), (60, 4)))})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that hears the tones of letters, its weights set by hand: what is no tone may be a blank or a space."""
    network = {"conv": {"kind": "1d", "channels": [3], "kernels": [1], "strides": [2]}, "num_rnn_layers": 1, "rnn_size": 3}
    config = from_dict(TrainConfig, {"model": network | {"batch_norm": False}}, "test")
    vocabulary = Vocabulary.english_characters()
    features = FeatureConfig(storage="on_the_fly", mean_variance="none")
    made = Recogniser.new(config, vocabulary, features, None, "english", "word")
    weights = {name: torch.zeros_like(values) for name, values in made.model.state_dict().items()}
    for number, letter in enumerate("abc"):
        weights["conv.layers.0.conv.weight"][number, TONES_HZ[letter] // 50] = 1.0  # bins are 50 Hz wide
        weights["output.weight"][vocabulary.encode(letter)[0], number] = 3.0
    weights["conv.layers.0.conv.bias"] -= 6.0  # log-power below which there is no tone
    weights["recurrent.0.input.weight"] += torch.eye(3)
    weights["output.bias"][:2] = torch.tensor([9.0, 6.0])  # blank and space
    made.model.load_state_dict(weights)
    path = tmp_path_factory.mktemp("model") / "best.pt"
    checkpoint.save(path, made, {})
    return path


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory):
    """Its path, the texts of the utterances in it, and the pauses between them: when each begins and ends."""
    path, rng = tmp_path_factory.mktemp("long") / "talk.flac", np.random.default_rng(1)
    parts, texts, pauses, end = [], [], [], 0
    for _ in range(NUM_UTTERANCES):
        texts.append(" ".join(rng.choice(WORDS, size=rng.integers(3, 6))))
        pause = np.float32(0.01) * rng.standard_normal(int(rng.uniform(0.2, 1.0) * 16000)).astype(np.float32)
        parts += [spell(f" {texts[-1]} ", rng), pause]
        start = end + len(parts[-2])
        end = start + len(pause)
        pauses.append((start / 16000, end / 16000))
    soundfile.write(path, np.concatenate(parts), 16000)
    return path, texts, pauses[:-1]


def write(folder, text: str):
    path = folder / "text.txt"
    path.write_text(text, encoding="utf-8")
    return path


def cuts_of(folder, name):
    return list(CutSet.from_file(folder / name)) if (folder / name).exists() else []


def test_every_word_is_kept_and_cuts_fall_into_pauses(model, long_recording, tmp_path, capsys):
    path, texts, pauses = long_recording
    segment.run(path, write(tmp_path, "\n".join(texts).upper() + "."), model, tmp_path / "clips")
    kept, dropped = (cuts_of(tmp_path / "clips", name) for name in (segment.KEPT, segment.DROPPED))
    assert " ".join(cut.supervisions[0].text for cut in sorted(kept + dropped, key=lambda cut: cut.id)) == " ".join(texts)
    assert len(kept) >= 0.8 * len(kept + dropped) > 10
    for cut in kept:
        custom = cut.supervisions[0].custom
        assert 3 < cut.duration < 14 and custom["from"] == str(path)
        if custom["from_start_s"]:
            assert min(max(start - custom["from_start_s"], custom["from_start_s"] - end, 0) for start, end in pauses) < 0.3
        said = soundfile.read(path, start=round(custom["from_start_s"] * 16000), frames=cut.num_samples)[0]
        assert np.abs(cut.load_audio()[0] - said).max() < 1e-3
    assert "Kept 15 of 15 clips" in capsys.readouterr().out and not dropped


def test_every_pause_is_found(model, long_recording):
    path, texts, pauses = long_recording
    recogniser, _ = segment.load_model(model)
    aligned = segment.aligned_words(recogniser, segment.LongAudio(path), segment.Transcript(" ".join(texts).split(), []))
    behind = np.cumsum([len(text.split()) for text in texts])[:-1]
    for number, (start_s, end_s) in zip(behind, pauses, strict=True):
        found_s = (aligned.words[number - 1].end_s + aligned.words[number].start_s) / 2
        assert start_s - 0.3 < found_s < end_s + 0.3


@pytest.mark.parametrize("one_in", [0, 20, 5])
def test_clips_with_wrong_words_are_dropped(model, long_recording, tmp_path, one_in):
    path, texts, _ = long_recording
    rng = np.random.default_rng(2)
    words = [(word, number) for number, text in enumerate(texts) for word in text.split()]
    if one_in:
        wrong = set(rng.permutation(len(words))[: len(words) // one_in].tolist())
    else:
        utterances = set(rng.permutation(NUM_UTTERANCES)[: NUM_UTTERANCES // 5].tolist())
        wrong = {n for n, (_, utterance) in enumerate(words) if utterance in utterances}
    replaced = [WORDS[(WORDS.index(word) + 7) % len(WORDS)] if n in wrong else word for n, (word, _) in enumerate(words)]
    segment.run(path, write(tmp_path, " ".join(replaced)), model, tmp_path / "clips")
    kept = {cut.id for cut in cuts_of(tmp_path / "clips", segment.KEPT)}
    first, good, bad = 0, [], []
    for cut in sorted((cut for name in (segment.KEPT, segment.DROPPED) for cut in cuts_of(tmp_path / "clips", name)), key=lambda cut: cut.id):
        behind = first + len(cut.supervisions[0].text.split())
        (bad if wrong & set(range(first, behind)) else good).append(cut.id)
        first = behind
    assert first == len(words) and bad
    assert len(bad) >= 6 and len(kept & set(bad)) <= 1 and len(kept & set(good)) >= 0.5 * len(good)
    report = (tmp_path / "clips" / "report.txt").read_text(encoding="utf-8")
    assert "too much in its worst word" in report
    assert "text does not fit: " in report and "a character" in report


def test_the_transcript_of_another_recording(model, long_recording, tmp_path):
    rng = np.random.default_rng(9)
    text = " ".join(rng.choice(WORDS, size=100))
    with pytest.raises(UserError, match="another recording.*Nothing is written"):
        segment.run(long_recording[0], write(tmp_path, text), model, tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


def test_words_that_cannot_be_spelled_are_left_out_and_their_clip_dropped(model, long_recording, tmp_path, capsys):
    path, texts, _ = long_recording
    segment.run(path, write(tmp_path, " ".join(texts[:20]) + " 1984 " + " ".join(texts[20:])), model, tmp_path / "clips")
    assert "'1984'" in capsys.readouterr().out
    reasons = [cut.supervisions[0].custom["dropped"] for cut in cuts_of(tmp_path / "clips", segment.DROPPED)]
    assert "words left out of the transcript" in reasons
    assert "'1984'" in (tmp_path / "clips" / "report.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("content", "message"), [(b" \n", "has no words"), (b"1 2", "none of its words"), (b"\xff\xfe", "UTF-8")])
def test_transcripts_without_words(model, long_recording, tmp_path, content, message):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(DataError, match=f"text.txt.*{message}"):
        segment.run(long_recording[0], tmp_path / "text.txt", model, tmp_path / "clips")


def test_bad_audio_a_missing_text_and_a_folder_of_something_else(model, long_recording, tmp_path):
    text = write(tmp_path, "abc")
    (tmp_path / "bad.wav").write_text("no audio", encoding="utf-8")
    with pytest.raises(DataError, match="bad.wav: audio cannot be read"):
        segment.run(tmp_path / "bad.wav", text, model, tmp_path / "clips")
    with pytest.raises(DataError, match="nosuch.txt cannot be read"):
        segment.run(long_recording[0], tmp_path / "nosuch.txt", model, tmp_path / "clips")
    with pytest.raises(UserError, match="not the work of"):
        segment.run(long_recording[0], text, model, tmp_path)
    too_long = write(tmp_path, "abc " * 5000)
    with pytest.raises(DataError, match="another recording"):
        segment.run(long_recording[0], too_long, model, tmp_path / "clips")
    assert text.exists() and not (tmp_path / "clips").exists()


def timed(*gaps_s: float) -> list[Timed]:
    """Words of half a second with these gaps between them."""
    found, now_s = [Timed("w", 0.4, 0.9)], 0.9
    for gap_s in gaps_s:
        found.append(Timed("w", now_s + gap_s, now_s + gap_s + 0.5))
        now_s += gap_s + 0.5
    return found


def test_cuts_are_in_wide_gaps_and_clips_about_seven_seconds():
    words = timed(*([0.1] * 11 + [0.8] + [0.1] * 5 + [0.25] + [0.1] * 4 + [0.9] + [0.1] * 10))
    clips = segments.cut(words, words[-1].end_s + 3)
    assert [(clip.first, clip.behind) for clip in clips] == [(0, 12), (12, 23), (23, 34)]
    assert clips[0].start_s == 0 and clips[0].end_s == clips[1].start_s == pytest.approx(words[11].end_s + 0.4)
    assert clips[-1].end_s == pytest.approx(words[-1].end_s + segments.PADDING_S)


def test_without_gaps_there_is_one_clip_and_a_long_silence_is_in_none():
    assert len(segments.cut(timed(*[0.1] * 100), 70.0)) == 1
    left, right = segments.cut(timed(*[0.1] * 9, 60.0, *[0.1] * 9), 80.0)
    assert right.start_s - left.end_s == pytest.approx(60 - 2 * segments.PADDING_S)
    assert segments.cut([], 5.0) == []


def test_halves_part_a_clip_in_its_widest_gap():
    words = timed(0.1, 0.5, 0.1, 0.3, 0.1)
    (whole,) = segments.cut(words, 6.0)
    left, right = segments.halves(words, whole)
    assert (left.first, left.behind, right.behind) == (0, 2, 6) and left.end_s == right.start_s
    assert (left.start_s, right.end_s) == (whole.start_s, whole.end_s)
    assert segments.halves(words, left) == []


def simulated(words, truth):
    """A quarter of a unit a character where the words are true, four where not."""
    characters = sum(map(len, words)) + len(words) - 1
    cost = sum(len(word) * (0.25 if word == said else 4.0) for word, said in zip(words, truth, strict=True))
    noise = 0.9 + 0.2 * (zlib.crc32(" ".join(words).encode()) % 100) / 100
    worst = max(0.1 if word == said else 3.0 * len(word) for word, said in zip(words, truth, strict=True))
    return Measured(cost * noise, worst * noise, 8 * characters, len(words), characters, characters)


@pytest.mark.parametrize("share_wrong", [0.0, 0.2, 0.5])
def test_the_classifier_learns_from_a_recording_that_is_partly_wrong(share_wrong):
    rng = np.random.default_rng(3)
    truths = [[f"w{number:03d}" for number in rng.integers(0, 200, rng.integers(5, 20))] for _ in range(60)]
    pool = sorted({word for words in truths for word in words})
    wrong_N = np.arange(60) < 60 * share_wrong
    texts = [filtering.replaced(t, pool, rng) if wrong else t for t, wrong in zip(truths, wrong_N, strict=True)]
    measures = [lambda words, truth=truth: simulated(words, truth) for truth in truths]
    found = filtering.classifier(texts, measures, 29)
    kept_N = found(np.array([simulated(*pair).features for pair in zip(texts, truths, strict=True)])) >= 0.5
    assert kept_N[~wrong_N].mean() > 0.9
    if wrong_N.any():
        assert kept_N[wrong_N].mean() < 0.25


def test_few_clips_are_told_apart_by_the_threshold():
    assert filtering.classifier([["a"]] * 5, [lambda words: simulated(words, ["a"])] * 5, 29) is None
    guess = np.log(28)
    assert filtering.fits(Measured(9.0, 0.9 * guess, 80, 2, 10, 10), 29)
    assert not filtering.fits(Measured(9.0, 1.1 * guess, 80, 2, 10, 10), 29)
    assert not filtering.fits(Measured(12.5 * guess, 0.0, 80, 2, 10, 10), 29)  # the network hears nothing


def peaky(spoken: str, vocabulary: Vocabulary, frames: int = 3) -> np.ndarray:
    """A network that is sure of every letter, a few frames each with a blank behind it."""
    ids = [frame for token in vocabulary.encode(spoken) for frame in (*[token] * frames, 0)]
    logits = 8.0 * np.eye(len(vocabulary), dtype=np.float32)[ids]
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def excess_of(log_probs_SV, text: str, vocabulary: Vocabulary) -> np.ndarray:
    """By words of single letters or more, which are aligned to where they are said or, where not said, stand."""
    found = align(log_probs_SV, targets := vocabulary.encode(text))
    said_S = np.where(found.position_S >= 0, np.array(targets)[found.position_S], 0)
    behind = np.cumsum([len(word) + 1 for word in text.split()])
    spans = [(found.spans[b - len(w) - 1][0], found.spans[b - 2][1]) for b, w in zip(behind, text.split(), strict=True)]
    return filtering.excess(log_probs_SV, said_S, spans, [0, vocabulary.encode("a b")[1]])


def test_one_word_replaced_has_all_the_excess():
    """Of a clip of forty letters one is wrong: in the clip's mean it is lost, of its word it is all."""
    vocabulary = Vocabulary.english_characters()
    spoken = "the rain in spain stays mainly in the plain"
    log_probs_SV = peaky(spoken, vocabulary)
    assert excess_of(log_probs_SV, spoken, vocabulary).max() < 1e-3
    costs = excess_of(log_probs_SV, spoken.replace("mainly", "barely"), vocabulary)
    assert costs.argmax() == 5 and costs[5] > 20 and np.delete(costs, 5).max() < 1e-3
    assert excess_of(log_probs_SV, spoken.replace("mainly ", ""), vocabulary).max() > 20  # said, and not in the text


def test_whether_a_network_writes_spaces_in_pauses_is_no_matter():
    vocabulary = Vocabulary.english_characters()
    log_probs_SV = peaky("  ab  cd  ", vocabulary)
    costs = excess_of(log_probs_SV, "ab cd", vocabulary)
    assert len(costs) == 2 and costs.max() < 1e-3
    assert excess_of(log_probs_SV, "ab ce", vocabulary)[1] > 7


def test_the_excess_of_words_is_what_the_path_lacks_to_the_best():
    vocabulary, rng = Vocabulary.english_characters(), np.random.default_rng(4)
    logits = rng.normal(size=(30, len(vocabulary))).astype(np.float32)
    log_probs_SV = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    found = align(log_probs_SV, targets := vocabulary.encode("a"))
    said_S = np.where(found.position_S >= 0, targets[0], 0)
    total = log_probs_SV.max(axis=1).sum() - found.score
    assert filtering.excess(log_probs_SV, said_S, found.spans, [0]) == pytest.approx([total], abs=1e-3)


def test_parts_are_the_halves_of_halves():
    words = timed(0.1, 0.5, 0.1, 0.3, 0.1, 0.4, 0.1, 0.6, 0.1)
    clips = segments.cut(words, 9.0)
    found = segments.with_parts(words, clips)
    assert found[: len(clips)] == clips and len(found) > len(clips) + 2
    assert all(half in found for one in found for half in segments.halves(words, one))


def test_replaced_words_are_others_and_as_many():
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = list(rng.choice(["a", "b", "c"], 6))
        other = filtering.replaced(words, ["a", "b", "c"], rng)
        assert len(other) == 6 and other != words and set(other) <= {"a", "b", "c"}
