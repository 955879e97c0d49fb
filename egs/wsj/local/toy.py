"""Writes a made-up WSJ, spoken by espeak-ng: its exact tree and text files, with every oddity."""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from ds2toolkit.data import sphere
from ds2toolkit.files import whole_folder
from ds2toolkit.recipe import sibling
from ds2toolkit.toy.grammar import distinct, sentence
from ds2toolkit.toy.speech import SAMPLE_RATE_HZ, Voice
from ds2toolkit.toy.sphere import write_sphere
from ds2toolkit.toy.studio import Setting, Take, write_all

texts = sibling(__file__, "toy_texts")
INDICES = {split: names[-1] for split, names in sibling(__file__, "prepare").INDICES.items()}

Layout = Literal["disc", "underscore", "cstr"]
SIZES = {
    "train_si84": 400,
    "train_si284": 1200,
    "dev93": 80,
    "dev93_5k": 24,
    "eval92": 150,
    "eval92_5k": 24,
    "eval93": 100,
    "eval93_5k": 24,
}
FEWEST = 8  # of WSJ1's training utterances, whatever the sizes are
FEMALE = set("f1 f2 f3 f4 f5 Annie Alicia Andrea linda steph belinda aunty grandma".split())
NULL_WAVEFORMS = ("46uc030b", "47hc0418")
ABSENT = "11-2.1/wsj0/si_tr_s/401/401c02{:02d}.wv1"
LANGUAGE_MODELS = "13-32.1/wsj1/doc/lng_modl"
UPPER_CASE_DISC = "13-16.1"
BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Part:
    """The utterances of a split that are in no other. transcripts: their folder, "" for beside the audio."""

    audio: tuple[str, ...]
    transcripts: str
    session: str
    speakers: str
    speaker_table: str


WSJ0_TABLE = "11-13.1/wsj0/doc/spkrinfo.txt"
DEV_TABLE, EVAL_TABLE = "13-34.1/wsj1/doc/dev_spok/spkrinfo.txt", "13-32.1/wsj1/doc/evl_spok/spkrinfo.txt"
TRANSCRIPTS = "13-34.1/wsj1/trans/wsj1"
EVAL92 = "440:f5 441:m5 442:grandma 443:Hugo"
EVAL93 = "4oa:belinda 4ob:robert 4oc:aunty 4od:miguel"
DEV93 = "4k0:f3 4k2:m8 4k6:Denis"
PARTS = {
    "train_si84": Part(
        ("11-1.1/wsj0/si_tr_s", "11-2.1/wsj0/si_tr_s"),
        "11-10.1/wsj0/transcrp/dots/si_tr_s",
        "c02",
        "01i:f1 01j:m1 01k:f2 01l:m2 01m:Annie 01n:m3 02a:linda 02b:rob 02c:steph 02d:paul",
        WSJ0_TABLE,
    ),
    "train_si284": Part(
        ("13-1.1/wsj1/si_tr_s", "13-11.1/wsj1/si_tr_s"),
        f"{TRANSCRIPTS}/si_tr_s",
        "c02",
        "46u:f4 47h:m4 4a8:Andrea 4ab:m6 4ac:Alicia 4ad:john 4ae:f1 4af:ian 4ag:f2 "
        "4ah:quincy 4ai:Annie 4aj:zac 4ak:victor 4al:travis 4am:Gene 4an:steph 4ao:m7",
        "13-34.1/wsj1/doc/train/spkrinfo.txt",
    ),
    "dev93": Part(("13-16.1/wsj1/si_dt_20",), f"{TRANSCRIPTS}/si_dt_20", "c03", DEV93, DEV_TABLE),
    "dev93_5k": Part(("13-16.1/wsj1/si_dt_05",), f"{TRANSCRIPTS}/si_dt_05", "c02", DEV93, DEV_TABLE),
    "eval92": Part(("11-14.1/wsj0/si_et_20",), "", "c04", EVAL92, WSJ0_TABLE),
    "eval92_5k": Part(("11-14.1/wsj0/si_et_05",), "", "c02", EVAL92, WSJ0_TABLE),
    "eval93": Part(("13-33.1/wsj1/si_et_h1/wsj64k",), "", "c03", EVAL93, EVAL_TABLE),
    "eval93_5k": Part(("13-33.1/wsj1/si_et_h2/wsj5k",), "", "c02", EVAL93, EVAL_TABLE),
}


@dataclass(frozen=True)
class Utterance:
    """audio: its file, as 11-1.1/wsj0/…; transcripts: the folder of its .dot file, in the same form."""

    split: str
    audio: str
    transcripts: str
    raw: str
    voice: Voice
    setting: Setting

    @property
    def id(self) -> str:
        return Path(self.audio).stem


def toy(
    corpus_dir: Path, seed: int = 0, sizes: Mapping[str, int] = SIZES, layout: Layout = "disc"
) -> None:
    """Write `corpus_dir`/WSJ, whole or not at all; a corpus that is there already stays as it is.

    sizes: utterances a split; train_si284 has train_si84's and 8 more at least. layout: a folder a disc
    (11-13.1), the same below csr_1/ and csr_2_comp/ (11_13_1, 13_34.1), or all discs merged. One seed, the
    same bytes.
    """
    if (corpus_dir / "WSJ").exists():
        return
    with whole_folder(corpus_dir / "WSJ") as root:
        utterances = list(plan(seed, sizes))
        write_all([take(root, layout, seed, utterance) for utterance in utterances], "speaking a toy WSJ")
        write_odd_audio(root, layout, utterances)
        write_transcripts(root, layout, utterances)
        write_indices(root, layout, utterances)
        write_speakers(root, layout)
        trained = (texts.spoken(one.raw) for one in utterances if one.split.startswith("train"))
        texts.write_language_models(located(root, layout, LANGUAGE_MODELS), trained)
        if layout != "cstr":
            raise_case(located(root, layout, UPPER_CASE_DISC))


def located(root: Path, layout: Layout, path: str) -> Path:
    """Where a layout has what is on the discs as 13-34.1/wsj1/…."""
    disc, _, rest = path.partition("/")
    if layout == "cstr":
        return root / rest
    if layout == "underscore":
        underscored = disc.replace("-", "_")
        disc = f"csr_1/{underscored.replace('.', '_')}" if disc < "12" else f"csr_2_comp/{underscored}"
        rest = rest.replace("si_et_20.ndx", "SI_ET_20.NDX")
    return root / disc / rest


def plan(seed: int, sizes: Mapping[str, int]) -> Iterator[Utterance]:
    """What is said by whom, part by part; every text occurs once."""
    sentences = distinct(sentence, np.random.default_rng(seed))
    num_marked = 0
    for split, part in PARTS.items():
        size = sizes[split]
        if split == "train_si284":
            size = max(FEWEST, size - sizes["train_si84"])
        speakers = part.speakers.split()[: max(2, size // 2)]
        for number in range(size):
            raw = texts.plain(next(sentences))
            every = texts.MARKED_EVERY if split.startswith("train") else size
            if number < texts.NUM_MARKED_FIRST or number % every == 0:
                raw = texts.marked(raw, num_marked)
                num_marked += 1
            yield uttered(split, part, number, speakers, raw)


def uttered(split: str, part: Part, number: int, speakers: Sequence[str], raw: str) -> Utterance:
    turn, index = divmod(number, len(speakers))
    speaker, _, variant = speakers[index].partition(":")
    rng = np.random.default_rng(list(speaker.encode()))
    accent = str(rng.choice(["american", "american", "new york"]))
    speed_wpm = int(rng.integers(155, 186)) + 5 * (turn % 3 - 1)
    voice = Voice(accent, variant, speed_wpm, pitch=int(rng.integers(40, 61)))
    setting = Setting(str(rng.choice(["pink", "hum"])), snr_db=float(rng.integers(20, 41)), rt60_s=0.1)
    place = f"{part.audio[index % len(part.audio)]}/{speaker}"
    name = f"{speaker}{part.session}{BASE_36[(turn + 1) // 36]}{BASE_36[(turn + 1) % 36]}"
    transcripts = f"{part.transcripts}/{speaker}" if part.transcripts else place
    return Utterance(split, f"{place}/{name}.wv1", transcripts, raw, voice, setting)


def take(root: Path, layout: Layout, seed: int, utterance: Utterance) -> Take:
    path = located(root, layout, utterance.audio)
    said = texts.spoken(utterance.raw)
    return Take(path, said, utterance.voice, utterance.setting, seed=(seed, int(utterance.id, 36)))


def write_odd_audio(root: Path, layout: Layout, utterances: Sequence[Utterance]) -> None:
    """In each part a second microphone, plain samples and shorten's other label; recordings of nothing."""
    for _, part in groupby(utterances, key=lambda one: one.split):
        for one, coding in zip(part, ("as it is", "pcm", "shorten-v1.09"), strict=False):
            path = located(root, layout, one.audio)
            if coding == "as it is":
                shutil.copyfile(path, path.with_suffix(".wv2"))
            else:
                samples, _ = sphere.decode(path)
                write_sphere(path, samples, SAMPLE_RATE_HZ, coding, fields={"utterance_id": one.id})
    for name in NULL_WAVEFORMS:
        path = located(root, layout, null_waveform(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        nothing = np.zeros(0, np.int16)
        write_sphere(path, nothing, SAMPLE_RATE_HZ, "shorten-v2.00", fields={"utterance_id": name})


def null_waveform(name: str) -> str:
    return f"{PARTS['train_si284'].audio[0]}/{name[:3]}/{name}.wv1"


def write_transcripts(root: Path, layout: Layout, utterances: Sequence[Utterance]) -> None:
    """A .dot file for each session, and .lsn files beside some, which the last of these have alone."""
    files: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for one in utterances:
        files[one.split, one.transcripts, one.id[:6]].append((one.id, one.raw))
    folder = PARTS["train_si284"].transcripts
    for name in NULL_WAVEFORMS:
        files["", f"{folder}/{name[:3]}", name[:6]].append((name, "~~"))
    for split, session in groupby(files, key=lambda file: file[0]):
        *others, last = session
        for file in (*others, last):
            path = located(root, layout, f"{file[1]}/{file[2]}00.dot")
            path.parent.mkdir(parents=True, exist_ok=True)
            has_lsn = split in ("train_si284", "eval92")
            if not (has_lsn and file == last):
                path.write_text(texts.dot_lines(files[file]), encoding="utf-8")
            if has_lsn:
                lines = texts.lsn_lines(files[file], swapped=split == "eval92")
                path.with_suffix(".lsn").write_text(lines, encoding="utf-8")


def write_indices(root: Path, layout: Layout, utterances: Sequence[Utterance]) -> None:
    for split, index in INDICES.items():
        files = [one.audio for one in utterances if one.split == split]
        if split == "train_si84":
            files += [ABSENT.format(number) for number in (1, 2)]
        if split == "train_si284":
            files += [null_waveform(name) for name in NULL_WAVEFORMS]
        head = texts.TRAIN_HEAD if split == "train_si84" else f";; {Path(index).name}\n;;\n"
        path = located(root, layout, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + "".join(texts.index_line(split, file) for file in files), encoding="utf-8")


def write_speakers(root: Path, layout: Layout) -> None:
    """The tables of speakers, ids in either case; the second of WSJ0's training speakers is in none."""
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    for split, part in PARTS.items():
        for number, person in enumerate(part.speakers.split()):
            speaker, _, variant = person.partition(":")
            if (split, number) != ("train_si84", 1):
                rows[part.speaker_table][speaker] = "F" if variant in FEMALE else "M"
    for table, sexes in rows.items():
        names = [speaker.upper() if number % 2 else speaker for number, speaker in enumerate(sexes)]
        lines = [f"{name}  {sex}  GA\n" for name, sex in zip(names, sexes.values(), strict=True)]
        path = located(root, layout, table)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts.SPEAKERS_HEAD + "".join(lines), encoding="utf-8")


def raise_case(folder: Path) -> None:
    """Give everything below `folder` upper-case names."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))
