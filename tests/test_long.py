"""Long recordings: windows and stretches without gap or overlap, in bounded memory; alignment in a band is alignment."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_train import FEATURES, TINY

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.config import TrainConfig, from_dict
from ds2toolkit.data.audio import read_audio
from ds2toolkit.data.features import FeatureStats, extractor, normalise
from ds2toolkit.data.long import LongAudio
from ds2toolkit.decode import long
from ds2toolkit.decode.align import align
from ds2toolkit.decode.banded import align_long
from ds2toolkit.errors import DataError
from ds2toolkit.text.vocabulary import Vocabulary

MEASURE = """
import sys
from pathlib import Path
from ds2toolkit.verbs import transcribe
transcribe.run([Path(sys.argv[1])], Path(sys.argv[2]), None, True)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    """Untrained; without power normalisation windows and the whole differ by nothing but what the network hears around."""
    config = from_dict(TrainConfig, TINY, "test")
    stats = FeatureStats(np.full(161, -3.0, np.float32), np.full(161, 4.0, np.float32), 1)
    features = replace(FEATURES, power_normalise=False)
    made = Recogniser.new(config, Vocabulary.english_characters(), features, stats, "english", "word")
    made.model.eval()
    return made


@pytest.fixture(scope="module")
def model(recogniser, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "best.pt"
    checkpoint.save(path, recogniser, {})
    return path


def noise(path, duration_s: float, rate_hz: int = 16000, num_channels: int = 1):
    """Noise that swells and falls, so that frames can be told apart."""
    num_samples = round(duration_s * rate_hz)
    swell = 0.1 + 0.1 * np.sin(np.arange(num_samples) / rate_hz * 3)
    samples = swell[:, None] * np.random.default_rng(0).standard_normal((num_samples, num_channels))
    soundfile.write(path, samples.clip(-1, 1), rate_hz)
    return path


@given(st.floats(0.01, 4000), st.integers(1, 7))
def test_windows_keep_every_second_once(duration_s, step_s):
    found = list(long.windows(duration_s, step_s))
    assert found[0][:2] == (0, 0) and found[-1][2:] == (duration_s, duration_s)
    for start_s, kept_s, kept_end_s, end_s in found:
        assert start_s <= kept_s < kept_end_s <= end_s and end_s - start_s <= long.WINDOW_S + 3 * (long.CONTEXT_S + step_s)
        assert start_s % step_s == kept_s % step_s == 0
        assert kept_s in (0, start_s + (kept_s - start_s)) and (kept_s == 0 or kept_s - start_s >= long.CONTEXT_S)
    assert all(left[2] == right[1] for left, right in zip(found, found[1:]))


@pytest.mark.parametrize("duration_s", [35.0, 36.004, 66.1, 95.337])
def test_windows_say_what_the_whole_says(recogniser, tmp_path, duration_s):
    path = noise(tmp_path / "noise.wav", duration_s)
    samples_T, _ = read_audio(path, 16000)
    feats_TF = normalise(extractor(recogniser.features).extract(samples_T, 16000), recogniser.features, recogniser.stats)
    with torch.inference_mode():
        whole_BSV, _ = recogniser.model(torch.from_numpy(feats_TF)[None], torch.tensor([len(feats_TF)]))
    blocks = list(long.emissions(recogniser, LongAudio(path), "noise"))
    assert (len(blocks) > 1) == (duration_s > 36)
    found_SV = np.concatenate(blocks)
    assert found_SV.shape == whole_BSV[0].shape
    assert np.abs(found_SV - whole_BSV[0].numpy()).max() < 1e-3
    assert np.abs(np.diff(found_SV, axis=0)).max() > 0.01  # of which a frame too few or too many would be seen


@pytest.mark.parametrize(("rate_hz", "num_channels"), [(44100, 2), (11025, 1)])
def test_windows_of_another_rate_fit_together(recogniser, tmp_path, rate_hz, num_channels):
    audio = LongAudio(noise(tmp_path / "noise.flac", 70.0, rate_hz, num_channels))
    assert sum(map(len, long.emissions(recogniser, audio, "noise"))) == 3500
    samples, _ = read_audio(audio.path, 16000)
    part = audio.read_at(24, 66, 16000)
    assert np.abs(part[1600:-1600] - samples[24 * 16000 + 1600 : 66 * 16000 - 1600]).max() < 1e-4


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_recording(model, tmp_path):
    peaks_mb = {}
    for minutes in (1, 8):
        path = noise(tmp_path / f"{minutes}.wav", 60 * minutes)
        run = subprocess.run([sys.executable, "-c", MEASURE, path, model], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        line, peak_kb = run.stdout.splitlines()
        assert json.loads(line)["duration_s"] == 60 * minutes
        peaks_mb[minutes] = int(peak_kb) / 1024
    assert peaks_mb[8] < peaks_mb[1] + 18, peaks_mb  # seven minutes of samples are 27 MB, of features as much again


def emitted(text: str) -> np.ndarray:
    """Log-probabilities that leave little doubt; `_` is the blank, b and c are tokens, ` ` the space (3)."""
    log_probs_SV = np.full((len(text), 4), -6.0, np.float32)
    log_probs_SV[range(len(text)), ["_bc ".index(one) for one in text]] = -0.01
    return log_probs_SV


def test_a_short_recording_is_one_stretch():
    log_probs_SV = emitted("b" + "_" * 1000 + "c" * 700)
    ((first, found_SV),) = long.stretches([log_probs_SV[:900], log_probs_SV[900:]], 3, 0.02)
    assert first == 0 and (found_SV == log_probs_SV).all()


def test_stretches_are_cut_in_pauses_and_in_the_longest_run():
    speech = "b_c" * 300  # 18 s
    text = speech + "__ __" + speech + "_" * 50 + speech + "_ _" + "b" * 2000
    found = list(long.stretches([emitted(text)[start : start + 700] for start in range(0, len(text), 700)], 3, 0.02))
    assert (np.concatenate([part for _, part in found]) == emitted(text)).all()
    cuts = [first for first, _ in found]
    assert cuts[:3] == [0, 902, 1830] and max(len(part) for _, part in found) <= 36 * 50
    assert all(left + len(part) == right for (left, part), right in zip(found, cuts[1:]))


def random_emissions(rng, targets: list[int], num_frames: int) -> np.ndarray:
    """Near the targets, some noise over them."""
    path = np.zeros(num_frames, int)
    path[np.linspace(1, num_frames - 2, len(targets)).astype(int)] = targets
    logits_SV = rng.standard_normal((num_frames, 5))
    logits_SV[range(num_frames), path] += 4
    return torch.from_numpy(logits_SV).log_softmax(-1).numpy().astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_alignment_in_a_band_is_alignment(seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, 5, 400).tolist()
    log_probs_SV = random_emissions(rng, targets, 1500)
    whole = align(log_probs_SV, targets)
    found, near_edge = align_long(log_probs_SV, targets, band=64, block=40)
    assert (found.position_S == whole.position_S).all() and found.score == pytest.approx(whole.score) and not near_edge
    assert align_long(log_probs_SV, targets)[0].score == whole.score


def test_a_text_that_leaves_the_band_is_told():
    rng = np.random.default_rng(0)
    targets = rng.integers(1, 5, 400).tolist()
    log_probs_SV = random_emissions(rng, targets, 1500)
    with pytest.raises(DataError, match="recording ends"):
        align_long(log_probs_SV[:700], targets, band=64, block=40)
    untold = targets[:200] + targets[260:]
    found, near_edge = align_long(log_probs_SV, untold, band=64, block=20)
    assert near_edge and found.score < align(log_probs_SV, untold).score


def test_silence_and_damage(recogniser, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000 * 70), 16000)
    with pytest.raises(DataError, match="silent.wav: audio is silent"):
        list(long.emissions(recogniser, LongAudio(tmp_path / "silent.wav"), ""))
    soundfile.write(tmp_path / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(DataError, match="nan.wav: .*not finite"):
        list(long.emissions(recogniser, LongAudio(tmp_path / "nan.wav"), ""))
    path = noise(tmp_path / "damaged.flac", 70)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20000] = bytes(20000)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged.flac: audio"):
        list(long.emissions(recogniser, LongAudio(path), ""))
