"""VoxForge's English submissions as Lhotse cuts, by accent: archives or folders, with all their dirt."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote, unquote

from lhotse import CutSet
from tqdm import tqdm

from ds2toolkit.data.archive import unpack_all
from ds2toolkit.data.corpus import Corpus
from ds2toolkit.data.fetch import Checksums, read_page
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.report import Report
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import sibling

speakers = sibling(__file__, "speakers")
submission = sibling(__file__, "submission")
Submission = submission.Submission

PLACE = "downloads/SpeechCorpus/Trunk/Audio/Main/16kHz_16bit"
MIRRORS = (
    f"http://www.repository.voxforge1.org/{PLACE}",
    f"http://repository.voxforge1.org/{PLACE}",
    f"https://www.repository.voxforge1.org/{PLACE}",
)
LINK = re.compile(r'href="([^"?]+\.(?:tgz|tar\.gz))"', re.IGNORECASE)
ENDING = re.compile(r"\.(tgz|tar\.gz|tar)$", re.IGNORECASE)
DEPTH = 4  # levels below the corpus folder that are searched: Audio/Main/16kHz_16bit/SUBMISSION
FAILURES_IN_A_ROW = 10


def prepare(corpus_dir: Path, report: Report, scratch: Path) -> dict[str, CutSet]:
    """The splits train, dev and test of the submissions in `corpus_dir`: archives, folders or both.

    The condition is the speaker's group of accents, none where that is not known: the group of the first
    submission of theirs (by name, so by date) that tells one. `speakers.choose` says who is tested. What can't be
    used goes to the report, damaged archives too. Raises DataError when there is no submission.
    """
    found = [submission.read(folder) for folder in find(Path(corpus_dir), scratch, report)]
    utterances: Counter[str] = Counter()
    groups: dict[str, str | None] = {}
    for one in found:
        utterances[one.speaker] += len(one.utterances)
        groups[one.speaker] = groups.get(one.speaker) or speakers.group_of(one.dialect)
    chosen = speakers.choose({name: (groups[name], count) for name, count in utterances.items()})
    corpus = Corpus(report)
    for one in tqdm(found, desc="reading VoxForge", unit="submission", leave=False, disable=None):
        add(corpus, one, groups[one.speaker], chosen)
    cuts = corpus.cuts()
    report.notes += [*group_notes(cuts), *quirk_notes(found)]
    return cuts


def find(corpus_dir: Path, scratch: Path, report: Report) -> list[Path]:
    """Every submission's folder, by date within a user. One that is there twice, as folder and archive, counts once.

    Archives are unpacked below `scratch`; one that is replaced by another is unpacked again.
    """
    there = list(walk(corpus_dir)) if corpus_dir.is_dir() and not submission.is_submission(corpus_dir) else []
    folders = {path.name: path for path in reversed(there) if path.is_dir()}
    archives = {bare(path): path for path in reversed(there) if not path.is_dir() and bare(path) not in folders}
    places = {path: scratch / stamp(path) / name for name, path in sorted(archives.items())}
    damaged = unpack_all(places, "unpacking VoxForge")
    for archive, place in places.items():
        inside = [] if archive in damaged else [path for path in walk(place) if path.is_dir()]
        folders = {path.name: path for path in inside} | folders
        if archive in damaged:
            report.drop("-", archive.name, "damaged archive", str(damaged[archive]))
        elif not inside:
            report.drop("-", archive.name, "no submission in the archive", str(archive))
    if not folders:
        raise DataError(nothing_in(corpus_dir, damaged.values()))
    return sorted(folders.values(), key=lambda path: path.name.lower().removeprefix("en-"))


def walk(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Folders that are submissions and archives, at most `depth` levels below."""
    if submission.is_submission(folder):
        yield folder
    elif depth:
        for path in submission.entries(folder):
            if path.is_dir():
                yield from walk(path, depth - 1)
            elif ENDING.search(path.name) and path.is_file():
                yield path


def bare(archive: Path) -> str:
    return ENDING.sub("", archive.name)


def stamp(archive: Path) -> str:
    stat = archive.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def nothing_in(corpus_dir: Path, damaged: Iterable[DataError]) -> str:
    looked = "NAME.tgz, NAME.tar.gz or NAME/etc/PROMPTS with NAME/wav/*.wav (NAME: such as 1snoke-20120412-hge)"
    message = f"no VoxForge submission in {corpus_dir}: looked there and {DEPTH} levels below for {looked}.\n"
    if corpus_dir.is_dir() and submission.is_submission(corpus_dir):
        return f"{message}That is one submission, or a corpus laid out like one: name the folder above it."
    return message + (str(next(iter(damaged), "")) or f"{describe(corpus_dir)}.")


def add(corpus: Corpus, one: Submission, group: str | None, chosen: dict[str, tuple[str, int]]) -> None:
    """Take the utterances of a submission that its speaker has room for, and report the rest and the faults."""
    split, room = chosen[one.speaker]
    for utterance_id, reason, detail in one.faults:
        corpus.report.drop(split, utterance_id, reason, detail)
    for number, said in enumerate(one.utterances):
        if number < room:
            corpus.add(split, said.path, said.id, said.text, one.speaker, group, one.gender)
        else:
            corpus.report.drop(split, said.id, "over what a speaker or a group gives to the set")
    chosen[one.speaker] = (split, max(0, room - len(one.utterances)))


def group_notes(cuts: Mapping[str, CutSet]) -> Iterator[str]:
    """Utterances and speakers of each group in each split."""
    members = defaultdict(list)
    for split, some in cuts.items():
        for cut in some:
            group = (cut.supervisions[0].custom or {}).get("condition", "no group")
            members[group, split].append(cut.supervisions[0].speaker)
    for group, keys in groupby(sorted(members), key=lambda key: key[0]):
        counts = [f"{split} {len(members[g, split])} by {len(set(members[g, split]))}" for g, split in keys]
        yield f"{group}, utterances by speakers: {', '.join(counts)}"


def quirk_notes(found: Sequence[Submission]) -> Iterator[str]:
    """What had to be handled, and how often."""
    quirks = defaultdict(list)
    told = defaultdict(set)
    for one in found:
        told[one.speaker].add(speakers.group_of(one.dialect))
        for quirk in one.quirks:
            quirks[quirk].append(one.name)
        if one.dialect and not speakers.group_of(one.dialect):
            quirks[f"dialect without a group: {one.dialect}"].append(one.name)
    for quirk, names in sorted(quirks.items()):
        yield f"{quirk} ({len(names)} of {len(found)} submissions; the first: {names[0]})"
    for speaker in (name for name, groups in told.items() if len(groups - {None}) > 1):
        yield f"{speaker} tells accents of several groups; the first counts"


def download(corpus_dir: Path, splits: Sequence[str]) -> None:
    """Fetch every submission to `corpus_dir`/tgz, each held to its sum in checksums.txt there; all splits at once.

    One that can't be had does not keep the others from coming. Raises UserError that says how many are missing.
    """
    mirrored, folder = listed(), corpus_dir / "tgz"
    folder.mkdir(parents=True, exist_ok=True)
    checksums, failures, in_a_row = Checksums(folder), [], 0
    for name in tqdm(mirrored, desc="fetching VoxForge", unit="submission", disable=None):
        try:
            checksums.fetch([f"{mirror}/{quote(name)}" for mirror in MIRRORS], folder / name)
            in_a_row = 0
        except UserError as error:
            failures.append(str(error).partition("\n")[0])
            in_a_row += 1
        if in_a_row == FAILURES_IN_A_ROW:
            break
    if failures:
        missing = sum(not (folder / name).exists() for name in mirrored)
        raise UserError(
            f"{missing} of {len(mirrored)} submissions are missing. The last failure: {failures[-1]}\n"
            "Run this again to fetch them, or go on with those that came: --stage 1"
        )


def listed() -> list[str]:
    """The archives that the first mirror with any has. Raises UserError when there is none."""
    errors = []
    for mirror in MIRRORS:
        try:
            names = {Path(unquote(link)).name for link in LINK.findall(read_page(f"{mirror}/"))}
        except UserError as error:
            errors.append(error)
            continue
        if names:
            return sorted(names)
        errors.append(UserError(f"{mirror} lists no archives. Name a copy that you have: --corpus-dir DIR"))
    raise errors[0]
