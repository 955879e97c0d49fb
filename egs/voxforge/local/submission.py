"""One VoxForge submission, what a contributor sent at once, with every spelling of README and prompts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ds2toolkit.errors import DataError
from ds2toolkit.recipe import sibling

speaker_of = sibling(__file__, "speakers").speaker_of

AUDIO_FOLDERS = ("flac", "wav")  # the later before the earlier
PROMPT_FILES = [  # the first that is there before the others
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"prompts",
        r"prompts?\.txt|prompt",
        r".+\.prompts?",
        r"transcriptions?(\.txt)?",
        r".+\.text",
        r"prompts[-_.]original.*",
    )
]
ORIGINAL = PROMPT_FILES[-1]
README = re.compile(r"readme(\..*)?", re.IGNORECASE)
PROMPT = re.compile(
    r"(?:.*[/\\]mfc[/\\]|\S*[/\\])?(?P<name>[^\s/\\]+?)(?:\.(?:wav|flac|mfc))?(?:\s+(?P<text>.*))?", re.IGNORECASE
)
FIELD = re.compile(r"(?P<key>[^:]+?)\s*:\s*(?P<value>.*)")
FIELDS = {  # old READMEs have `Sex` and `Pronunication dialect`
    "user": re.compile(r"user\s*name", re.IGNORECASE),
    "gender": re.compile(r"gender|sex", re.IGNORECASE),
    "dialect": re.compile(r"pro\w+\s+dialect", re.IGNORECASE),
}
GENDERS = {"f": "female", "m": "male"}


@dataclass(frozen=True)
class Utterance:
    """An audio file with its prompt."""

    id: str
    path: Path
    text: str


@dataclass
class Submission:
    """What a folder holds. faults: (id, reason, detail) of what is no utterance; quirks: what had to be handled."""

    name: str
    speaker: str = ""
    dialect: str = ""
    gender: str | None = None
    utterances: list[Utterance] = field(default_factory=list)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    quirks: set[str] = field(default_factory=set)

    def id(self, name: str) -> str:
        return "_".join(f"{self.name}-{name}".split())


def is_submission(folder: Path) -> bool:
    return bool(find_audio(folder)) or any(path.parent != folder for path in find_prompts(folder))


def read(folder: Path) -> Submission:
    """All of a submission but its audio. Raises DataError when a file can't be read."""
    submission = Submission(folder.name)
    fields = read_readme(folder, submission.quirks)
    submission.speaker = speaker_of(folder.name, fields.get("user", ""))
    submission.dialect = fields.get("dialect", "")
    submission.gender = GENDERS.get(fields.get("gender", "").lower()[:1])
    audio = find_audio(folder)
    if any(path.parent.name.lower() == "flac" for path in audio.values()):
        submission.quirks.add("flac/ used, for want of a usable wav/")
    match_prompts(submission, folder, audio)
    return submission


def match_prompts(submission: Submission, folder: Path, audio: dict[str, Path]) -> None:
    """Utterances where there are both audio and prompt, else faults. Capitals make no difference in names."""
    texts = read_prompts(folder, submission, {name.lower() for name in audio})
    for name, path in audio.items():
        if name.lower() in texts:
            _, text = texts[name.lower()]
            submission.utterances.append(Utterance(submission.id(name), path, text))
        else:
            submission.faults.append((submission.id(name), "no transcript", str(path)))
    for lower in texts.keys() - {name.lower() for name in audio}:
        submission.faults.append((submission.id(texts[lower][0]), "no audio file", str(folder)))


def find_audio(folder: Path) -> dict[str, Path]:
    """Audio files by name without ending, a wav before a flac of that name unless it has no bytes."""
    found = {}
    for kind in AUDIO_FOLDERS:
        for path in entries(folder, kind):
            audible = path.suffix.lower().removeprefix(".") in AUDIO_FOLDERS and path.is_file()
            if audible and (path.stat().st_size or path.stem not in found):
                found[path.stem] = path
    return dict(sorted(found.items()))


def find_prompts(folder: Path) -> list[Path]:
    """Files with prompts in etc/ and in the folder itself, the better ones first."""
    paths = [*entries(folder, "etc"), *entries(folder)]
    return [path for kind in PROMPT_FILES for path in paths if kind.fullmatch(path.name) and path.is_file()]


def entries(folder: Path, name: str | None = None) -> list[Path]:
    """What is in a folder, or in those of its folders that are called `name` (in any case); no hidden files."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if name is None:
        return inside
    return [path for part in inside if part.name.lower() == name and part.is_dir() for path in entries(part)]


def read_prompts(folder: Path, submission: Submission, wanted: set[str]) -> dict[str, tuple[str, str]]:
    """Lower-case name -> (name, text): all of the first file with prompts, of the others what is wanted besides."""
    texts: dict[str, tuple[str, str]] = {}
    for rank, path in enumerate(find_prompts(folder)):
        found = dict(prompts(path, submission, first=rank == 0))
        added = {lower: one for lower, one in found.items() if rank == 0 or lower in wanted - texts.keys()}
        texts |= added
        if added and path.name.lower() != "prompts":
            kind = "prompts-original" if ORIGINAL.fullmatch(path.name) else "prompts under another name"
            submission.quirks.add(f"{kind} used, for want of PROMPTS")
    return texts


def prompts(path: Path, submission: Submission, first: bool) -> Iterator[tuple[str, tuple[str, str]]]:
    """The prompts of a file, each name once; another text for one is a fault in the file that counts."""
    texts: dict[str, str] = {}
    for line in lines(path, submission.quirks):
        match = PROMPT.fullmatch(line)
        name, text = (match["name"], match["text"] or "") if match else ("", line)
        if name and name.lower() not in texts:
            texts[name.lower()] = text
            yield name.lower(), (name, text)
        elif first and texts.get(name.lower()) != text:
            reason = "second transcript" if name else "malformed transcript"
            submission.faults.append((submission.id(name), reason, f"{path}: {line}"))


def read_readme(folder: Path, quirks: set[str]) -> dict[str, str]:
    """The fields of FIELDS that etc/README, or one beside etc/, has a value for."""
    paths = [path for path in (*entries(folder, "etc"), *entries(folder)) if README.fullmatch(path.name)]
    if not paths:
        quirks.add("no README: neither accent nor gender known")
    found: dict[str, str] = {}
    for line in (line for path in paths if path.is_file() for line in lines(path, quirks)):
        match = FIELD.fullmatch(line)
        for name, spelling in FIELDS.items():
            if match and spelling.fullmatch(match["key"]) and (value := match["value"].strip(" \t;[]")):
                found.setdefault(name, value)
    return found


def lines(path: Path, quirks: set[str]) -> list[str]:
    """Lines that are not empty, of a text in UTF-8 or else in Windows-1252 (which latin-1 is a part of)."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        quirks.add("README or prompts not in UTF-8, read as Windows-1252")
        text = raw.decode("cp1252", errors="replace")
    return [line.strip() for line in re.split("[\r\n]+", text) if line.strip()]
