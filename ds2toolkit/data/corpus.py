"""Audio files and transcripts as Lhotse cuts, one an utterance, with every unusable file reported."""

import re
from collections import defaultdict
from pathlib import Path

import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from ds2toolkit.data import sphere
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError

WAV_SHORT_OF_DATA = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
WAV_LENGTH_UNKNOWN = 0x7FFFF000  # what programs that write to a pipe put there


class Corpus:
    """Gathers the utterances of a corpus, split by split; what can't be used goes to the report instead."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.splits: dict[str, dict[str, MonoCut]] = defaultdict(dict)

    def add(
        self,
        split: str,
        path: Path,
        utterance_id: str,
        text: str,
        speaker: str,
        condition: str | None = None,
        gender: str | None = None,
        language: str = "English",
        raw_text: str | None = None,
    ) -> bool:
        """Take one utterance, or report why not. Returns whether it was taken.

        raw_text: what the corpus has for it, where `text` is less, such as without marks of noises.
        """
        usable = self.usable(split, path, utterance_id)
        if usable:
            cut = read_cut(path, utterance_id, text, speaker, condition, gender, language, raw_text)
            self.splits[split][utterance_id] = cut
        return usable

    def add_supervised(self, split: str, recording: Recording, supervision: SupervisionSegment) -> None:
        """Take what a recipe of Lhotse made of one file that is `usable`."""
        self.splits[split][supervision.id] = supervised_cut(recording, supervision)

    def usable(self, split: str, path: Path, utterance_id: str) -> bool:
        """Whether the id is new to its split and the audio sound; if not, says so in the report."""
        if utterance_id in self.splits[split]:
            reason, detail = "duplicated id", str(path)
        else:
            reason, detail = audio_fault(path)
        if reason:
            self.report.drop(split, utterance_id, reason, detail)
        return not reason

    def cuts(self) -> dict[str, CutSet]:
        """The utterances taken, in the order in which they came. Splits without any are left out."""
        return {split: CutSet.from_cuts(cuts.values()) for split, cuts in self.splits.items() if cuts}


def read_cut(
    path: Path,
    utterance_id: str,
    text: str,
    speaker: str,
    condition: str | None = None,
    gender: str | None = None,
    language: str = "English",
    raw_text: str | None = None,
) -> MonoCut:
    """The first channel of an audio file as a cut with one supervision; only the header is read.

    Everything that soundfile reads is welcome, plain NIST SPHERE too, for which lhotse wants another program;
    and compressed SPHERE, which has to be converted before its samples can be had.
    Raises soundfile.LibsndfileError or DataError when the header can't be read.
    """
    recording = read_recording(path, utterance_id)
    custom = {"condition": condition, "raw_text": raw_text}
    supervision = SupervisionSegment(
        id=utterance_id,
        recording_id=utterance_id,
        start=0.0,
        duration=recording.duration,
        text=text,
        language=language,
        speaker=speaker,
        gender=gender,
        custom={key: value for key, value in custom.items() if value is not None} or None,
    )
    return supervised_cut(recording, supervision)


def supervised_cut(recording: Recording, supervision: SupervisionSegment) -> MonoCut:
    return MonoCut(
        id=supervision.id,
        start=0.0,
        duration=recording.duration,
        channel=recording.channel_ids[0],
        recording=recording,
        supervisions=[supervision],
    )


def read_recording(path: Path, recording_id: str) -> Recording:
    sample_rate_hz, num_samples, num_channels = audio_form(path)
    channels = list(range(num_channels))
    return Recording(
        id=recording_id,
        sources=[AudioSource(type="file", channels=channels, source=str(path.absolute()))],
        sampling_rate=sample_rate_hz,
        num_samples=num_samples,
        duration=num_samples / sample_rate_hz,
        channel_ids=channels,
    )


def audio_form(path: Path) -> tuple[int, int, int]:
    """Sample rate in Hz, samples a channel, channels."""
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        if not sphere.is_compressed(path):
            raise
        header = sphere.read_header(path)
        return header["sample_rate"], header["sample_count"], header["channel_count"]
    return info.samplerate, info.frames, info.channels


def audio_fault(path: Path) -> tuple[str, str]:
    """Why an audio file can't be used, as (reason, detail); two empty strings when it can.

    Reads the last sample: that finds a file shorter than its header says, without decoding it all. Of
    compressed SPHERE only the header is read.
    """
    if not path.is_file():
        return "no audio file", str(path)
    if path.stat().st_size == 0:
        return "audio is empty", f"{path} has no bytes"
    try:
        if sphere.is_compressed(path):
            empty = sphere.read_header(path)["sample_count"] == 0
            return ("audio is empty", f"{path} has no samples") if empty else ("", "")
        with soundfile.SoundFile(path) as audio:
            return length_fault(path, audio)
    except (soundfile.LibsndfileError, OSError, DataError) as error:
        return "audio cannot be read", str(error)


def length_fault(path: Path, audio: soundfile.SoundFile) -> tuple[str, str]:
    promised = promised_frames(path, audio)
    if promised == 0:
        return "audio is empty", f"{path} has no samples"
    try:
        audio.seek(promised - 1)
        found = len(audio.read(1))
    except soundfile.LibsndfileError:
        found = 0
    return ("", "") if found else ("audio is truncated", f"{path} ends before its {promised} samples")


def promised_frames(path: Path, audio: soundfile.SoundFile) -> int:
    """The number of samples a channel that the header states.

    libsndfile counts the samples of SPHERE and WAV by the size of the file, which hides a lost end.
    """
    if audio.format in ("NIST", "WAV", "WAVEX"):
        return max(audio.frames, stated_frames(path, audio))
    return audio.frames


def stated_frames(path: Path, audio: soundfile.SoundFile) -> int:
    if audio.format == "NIST":
        return sphere.read_header(path)["sample_count"]
    sizes = WAV_SHORT_OF_DATA.search(audio.extra_info)
    stated, found = map(int, sizes.groups()) if sizes else (0, 0)
    if found < stated < WAV_LENGTH_UNKNOWN:
        return stated // max(1, found // max(1, audio.frames))
    return 0


def read_lines(path: Path) -> list[str]:
    """Lines of a corpus's text file, empty ones left out. Bytes that are not UTF-8 become U+FFFD.

    Raises DataError when the file can't be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return [line.strip() for line in text.split("\n") if line.strip()]
