"""`ds2 segment`: a long recording and its transcript become clips to train on, less those that say something else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from lhotse import CutSet, MonoCut

from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.data.corpus import read_cut
from ds2toolkit.data.long import LongAudio
from ds2toolkit.data.report import Report
from ds2toolkit.decode import align, confidence, filtering, long, segments, transcript
from ds2toolkit.decode.banded import align_long
from ds2toolkit.decode.filtering import Measured
from ds2toolkit.decode.logistic import Logistic
from ds2toolkit.decode.segments import LONGEST_S, Clip
from ds2toolkit.decode.transcript import Transcript
from ds2toolkit.errors import UserError
from ds2toolkit.files import whole_folder
from ds2toolkit.model.ctc import BLANK, ctc_loss
from ds2toolkit.recipe import shown
from ds2toolkit.units import join_units
from ds2toolkit.verbs.transcribe import load_model

KEPT, DROPPED = "kept.jsonl.gz", "dropped.jsonl.gz"
MIN_KEPT = 0.1  # of the time of all clips; of a recording with another text less fits


@dataclass(frozen=True)
class Aligned:
    """A recording's log-probabilities and the words of its transcript with their times."""

    recogniser: Recogniser
    log_probs_SV: np.ndarray
    transcript: Transcript
    words: list[align.Timed]

    def text(self, clip: Clip) -> list[str]:
        return self.transcript.words[clip.first : clip.behind]

    def measure(self, clip: Clip, words: Sequence[str]) -> Measured:
        """What some words cost on the frames of a clip."""
        frame_s = long.frame_s(self.recogniser)
        log_probs_SV = np.array(self.log_probs_SV[round(clip.start_s / frame_s) : round(clip.end_s / frame_s)])
        text = join_units(words, self.recogniser.unit)
        targets = self.recogniser.vocabulary.encode(text)
        sizes = torch.tensor([len(log_probs_SV)]), torch.tensor([targets]), torch.tensor([len(targets)])
        cost = float(ctc_loss(torch.from_numpy(log_probs_SV)[None], *sizes)[0])
        worst = self.worst_word(log_probs_SV, targets) if math.isfinite(cost) else math.inf
        return Measured(cost, worst, len(log_probs_SV), len(words), len(text), len(targets))

    def worst_word(self, log_probs_SV: np.ndarray, targets: Sequence[int]) -> float:
        """The largest excess of the words that the targets spell."""
        found = align.align(log_probs_SV, targets)
        spots, _ = confidence.spots(self.recogniser, found.spans, targets)
        said_S = np.where(found.position_S >= 0, np.array(targets)[found.position_S], BLANK)
        spellings = self.recogniser.vocabulary.spellings
        silent = [BLANK, *(n for n, spelling in enumerate(spellings) if spelling == " ")]
        return float(filtering.excess(log_probs_SV, said_S, [(one.first, one.behind) for one in spots], silent).max())


@dataclass(frozen=True)
class Judged:
    """A clip, and why it is dropped; an empty string where it is not."""

    clip: Clip
    reason: str
    detail: str


def run(audio: Path, text: Path, model: Path, out: Path) -> None:
    check_out(out)
    recogniser, _ = load_model(model)
    recording, words = LongAudio(audio), transcript.read(text, recogniser)
    for number, word in words.left_out[:5]:
        print(f"{text}: {word!r}, before word {number + 1}, has characters that the network does not know: left out")
    if more := words.left_out[5:]:
        print(f"{text}: {len(more)} words more have such characters and are left out")
    aligned = aligned_words(recogniser, recording, words)
    judged, how = judge(aligned, segments.cut(aligned.words, recording.duration_s))
    kept_s = sum(one.clip.duration_s for one in judged if not one.reason)
    share = kept_s / sum(one.clip.duration_s for one in judged)
    if share < MIN_KEPT:
        raise UserError(
            f"{share:.0%} of {audio} fits {text}: is it the transcript of another recording, or the model of another"
            " language or kind of speech? Nothing is written."
        )
    notes = [
        f"Kept {sum(not one.reason for one in judged)} of {len(judged)} clips, {kept_s:.0f} s ({share:.0%}) of theirs.",
        f"Told apart by {how}.",
        *(f"Left out of the transcript: {word!r} before word {number + 1}." for number, word in words.left_out),
    ]
    write(out, recording, aligned, judged, notes)
    print(*notes[:2], sep="\n")
    for (_, reason), count in sorted(report_of(recording, judged).counts().items()):
        print(f"{reason}: {count}")
    print(f"The clips to train on are in {shown(out / KEPT)}.")


def check_out(out: Path) -> None:
    """Raises UserError for a folder that holds something else, which would be lost."""
    if out.exists() and not (out.is_dir() and ((out / KEPT).exists() or not any(out.iterdir()))):
        raise UserError(f"--out {out} exists and is not the work of `ds2 segment`: name a new folder")


def aligned_words(recogniser: Recogniser, recording: LongAudio, words: Transcript) -> Aligned:
    log_probs_SV = long.on_disk(long.emissions(recogniser, recording, recording.path.name))
    targets = recogniser.vocabulary.encode(join_units(words.words, recogniser.unit))
    alignment, near_edge = align_long(log_probs_SV, targets)
    if near_edge:
        print("The alignment came to the edge of its band: recording or transcript have minutes that the other has not.")
    spellings = [recogniser.vocabulary.spellings[target] for target in targets]
    timed = align.characters(alignment, spellings, long.frame_s(recogniser))
    by_character = recogniser.unit == "character"
    found = [one for one in timed if one.text != " "] if by_character else align.words(timed)
    return Aligned(recogniser, log_probs_SV, words, found)


def judge(aligned: Aligned, clips: list[Clip]) -> tuple[list[Judged], str]:
    """The clips, dropped ones once more in parts, each with its verdict; and how the verdict was found."""
    size = len(aligned.recogniser.vocabulary)
    learnt_from = segments.with_parts(aligned.words, clips)  # parts will be judged, and more of them have no wrong word
    measures = [lambda words, clip=clip: aligned.measure(clip, words) for clip in learnt_from]
    found = filtering.classifier([aligned.text(clip) for clip in learnt_from], measures, size)
    judged: list[Judged] = []
    waiting = clips[::-1]
    while waiting:
        clip = waiting.pop()
        one = verdict(aligned, clip, found)
        parts = segments.halves(aligned.words, clip) if one.reason else []
        judged += [] if parts else [one]
        waiting += parts[::-1]
    if found is None:
        return judged, f"a fixed threshold: too few of {len(clips)} clips and their parts fit their text to learn from"
    return judged, f"a classifier learnt from {len(clips)} clips and their parts"


def verdict(aligned: Aligned, clip: Clip, classifier: Logistic | None) -> Judged:
    if clip.duration_s > LONGEST_S:
        return Judged(clip, "no gap to cut in", f"{clip.duration_s:.0f} s")
    if doubtful := aligned.transcript.doubtful(clip.first, clip.behind):
        return Judged(clip, "words left out of the transcript", " ".join(doubtful))
    measured = aligned.measure(clip, aligned.text(clip))
    if classifier and math.isfinite(measured.cost):
        good = classifier(np.array([measured.features]))[0] >= 0.5
    else:
        good = filtering.fits(measured, len(aligned.recogniser.vocabulary))
    detail = f"cost {measured.cost:.1f}, {measured.cost / measured.num_characters:.2f} a character, {measured.worst_word:.1f} too much in its worst word"
    return Judged(clip, "" if good else "text does not fit", detail)


def write(out: Path, recording: LongAudio, aligned: Aligned, judged: list[Judged], notes: list[str]) -> None:
    report = report_of(recording, judged)
    report.notes += notes
    with whole_folder(out) as folder:
        (folder / "audio").mkdir()
        cuts = [clip_cut(folder, out, recording, aligned, one, number) for number, one in enumerate(judged)]
        for name, dropped in ((KEPT, False), (DROPPED, True)):
            if these := [cut for cut, one in zip(cuts, judged, strict=True) if bool(one.reason) == dropped]:
                CutSet.from_cuts(these).to_file(folder / name)
        report.write(folder / "report.txt")


def clip_cut(
    folder: Path, out: Path, recording: LongAudio, aligned: Aligned, one: Judged, number: int
) -> MonoCut:
    """Write a clip's audio into the folder that will be `out`. Returns its cut."""
    name, clip, language = clip_id(recording, number), one.clip, aligned.recogniser.language
    path = folder / "audio" / f"{name}.flac"
    soundfile.write(path, recording.read(clip.start_s, clip.end_s).clip(-1, 1), recording.rate_hz)
    text = join_units(aligned.text(clip), aligned.recogniser.unit)
    cut = read_cut(path, name, text, recording.path.stem, language=language.title())
    cut.recording.sources[0].source = str((out / "audio" / path.name).absolute())
    times = {"from": str(recording.path), "from_start_s": clip.start_s, "from_end_s": clip.end_s}
    cut.supervisions[0].custom = {**times, **({"dropped": one.reason} if one.reason else {})}
    return cut


def clip_id(recording: LongAudio, number: int) -> str:
    return f"{recording.path.stem}-{number:05d}"


def report_of(recording: LongAudio, judged: list[Judged]) -> Report:
    report = Report()
    for number, one in enumerate(judged):
        if one.reason:
            where = f"{one.clip.start_s:.2f} s to {one.clip.end_s:.2f} s, {one.detail}"
            report.drop(recording.path.stem, clip_id(recording, number), one.reason, where)
    return report
