"""WSJ0 (LDC93S6A, LDC93S6B) and WSJ1 (LDC94S13A, LDC94S13B) as Lhotse cuts, on discs or merged."""

import shutil
from collections import Counter
from pathlib import Path

from lhotse import CutSet
from tqdm import tqdm

from ds2toolkit.data.corpus import Corpus
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError
from ds2toolkit.files import whole
from ds2toolkit.recipe import sibling
from ds2toolkit.text.dot import dot_words

index, transcripts = (sibling(__file__, name) for name in ("index", "transcripts"))

SI84 = "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx"
INDICES = {
    "train_si84": (SI84,),
    "train_si284": (SI84, "13-34.1/wsj1/doc/indices/si_tr_s.ndx"),
    "dev93": ("13-34.1/wsj1/doc/indices/h1_p0.ndx",),
    "dev93_5k": ("13-34.1/wsj1/doc/indices/h2_p0.ndx",),
    "eval92": ("11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx",),
    "eval92_5k": ("11-13.1/wsj0/doc/indices/test/nvp/si_et_05.ndx",),
    "eval93": ("13-32.1/wsj1/doc/indices/wsj1/eval/h1_p0.ndx",),
    "eval93_5k": ("13-32.1/wsj1/doc/indices/wsj1/eval/h2_p0.ndx",),
}
NUM_UTTERANCES = {
    "train_si84": 7138,
    "train_si284": 37414,
    "dev93": 503,
    "dev93_5k": 513,
    "eval92": 333,
    "eval92_5k": 330,
    "eval93": 213,
    "eval93_5k": 215,
}
ABSENT = "wsj0/si_tr_s/401/"
LM_FILES = (
    *(f"lng_modl/base_lm/{name}.z" for name in ("bcb20onp", "tcb20onp", "bcb05onp", "tcb05cnp")),
    *(f"lng_modl/vocab/{name}" for name in ("wlist20o.nvp", "wlist5c.nvp", "wfl_64.lst")),
)


def prepare(corpus_dir: Path, report: Report) -> dict[str, CutSet]:
    """The splits of INDICES whose index, audio and transcripts are somewhere in `corpus_dir`: split -> cuts.

    The condition is the speaker's gender where one of the spkrinfo.txt has it. What can't be used and what is
    odd in this copy goes to the report. Raises DataError when no split can be had.
    """
    copy = index.walk(corpus_dir)
    corpus = Corpus(report)
    texts = transcripts.Transcripts(copy.files)
    genders = transcripts.read_genders(copy.files[name][0] for name in copy.ending("spkrinfo.txt"))
    for split in INDICES:
        read_split(split, copy, texts, genders, corpus)
    if copy.num_second_microphone:
        report.notes.append(f"{copy.num_second_microphone} files of the second microphone (.wv2) ignored")
    splits = corpus.cuts()
    check(splits, corpus_dir, copy, report)
    return splits


def read_split(split: str, copy, texts, genders: dict[str, str], corpus: Corpus) -> None:
    """Add what the indices of a split list. copy: index.Copy; texts: transcripts.Transcripts."""
    report = corpus.report
    if absent := [name for name in INDICES[split] if on_any_disc(name) not in copy.files]:
        report.notes.append(f"{split} left out: this copy has no {' and no '.join(absent)}")
        return
    oddities: Counter[str] = Counter()
    for name in INDICES[split]:
        entries = index.read_index(copy.files[on_any_disc(name)][0], split, report)
        for entry in tqdm(entries, desc=f"reading {split}", unit="utt", leave=False, disable=None):
            oddities.update(add(split, entry, copy, texts, genders, corpus))
    report.notes += [f"{split}: {count} {what}" for what, count in oddities.items()]


def on_any_disc(name: str) -> str:
    return name.partition("/")[2]


def add(split: str, entry, copy, texts, genders: dict[str, str], corpus: Corpus) -> list[str]:
    """Take an utterance or report why not. Returns what is odd about it."""
    oddities = list(entry.oddities)
    path, disc = copy.files.get(entry.file, (None, ""))
    raw, found = texts.find(entry.file) or (None, ())
    if entry.file.startswith(ABSENT):
        corpus.report.drop(split, entry.id, "speaker 401", "listed, but not on the disc 11-2.1")
        oddities.append("entries of speaker 401 left out, whose folder is not on the disc 11-2.1")
    elif path is None:
        corpus.report.drop(split, entry.id, "no audio file", f"{entry.disc}:{entry.file}")
    elif raw is None:
        corpus.report.drop(split, entry.id, "no transcript", f"{entry.id[:6]}00.dot of {entry.file}")
    elif not (words := dot_words(raw)):
        corpus.report.drop(split, entry.id, "null waveform" if "~~" in raw else "no words", raw)
        oddities += ["null waveforms (~~) left out"] * ("~~" in raw)
    else:
        speaker = entry.id[:3]
        gender = genders.get(speaker)
        corpus.add(split, path, entry.id, words, speaker, condition=gender, gender=gender, raw_text=raw)
        oddities += [*found, *misplaced(entry, path, disc)]
    return oddities


def misplaced(entry, path: Path, disc: str) -> list[str]:
    oddities = []
    if disc and disc != entry.disc:
        oddities.append(f"files on disc {disc}, which the index has on {entry.disc}")
    if path.name != path.name.lower():
        oddities.append("files with upper-case names; ids are lower-case")
    return oddities


def check(splits: dict[str, CutSet], corpus_dir: Path, copy, report: Report) -> None:
    """Note which splits are not what was published. Raises DataError when there is none."""
    if not splits and not report.dropped:
        raise DataError(
            f"no WSJ in {corpus_dir}: looked there and in all folders below for {SI84},\n"
            f"{INDICES['dev93'][0]} and the like, on their discs or not. {describe(corpus_dir)}."
        )
    if not splits:
        _, _, reason, detail = report.dropped[-1]
        raise DataError(
            f"none of the {len(report.dropped)} utterances listed in {corpus_dir} can be used; the last for: "
            f"{reason} ({detail}).\n{describe(corpus_dir)}."
        )
    for split, expected in NUM_UTTERANCES.items():
        found = len(splits.get(split, ()))
        if found != expected and found > expected / 2:
            report.notes.append(f"{split}: {expected:,d} utterances expected, found {found:,d}")
    lost = {split for split, *_ in report.dropped} - splits.keys()
    report.notes += [f"{split} left out: none of its utterances can be used" for split in sorted(lost)]


def lm_files(corpus_dir: Path, folder: Path) -> None:
    """Copy the language models and word lists of the corpus (WSJ1's disc 13-32.1) into `folder` as they are.

    Raises DataError when the copy has no language model.
    """
    copy = index.walk(corpus_dir)
    found = [copy.ending(f"/{name}")[:1] for name in LM_FILES]
    if not any(names and names[0].endswith(".z") for names in found):
        raise DataError(
            f"no language model in {corpus_dir}: looked for 13-32.1/wsj1/doc/{LM_FILES[0]} and its like.\n"
            "Estimate one from the transcripts instead: in recipe.yaml, lm: {order: 3}"
        )
    for name in (name for names in found for name in names):
        with whole(folder / Path(name).name) as part:
            shutil.copyfile(copy.files[name][0], part)
