"""What a folder that is not the expected corpus seems to be, told by the files that only one corpus has."""

from pathlib import Path

SUBMISSION = "*-20[0-9][0-9][0-1][0-9][0-3][0-9]-*"
WSJ0, WSJ1 = "[wW][sS][jJ]0", "[wW][sS][jJ]1"
LANDMARKS: list[tuple[str, tuple[str, ...]]] = [  # the first counts whose patterns all match
    ("AN4", ("etc/an4_train.fileids",)),
    ("LibriSpeech", ("SPEAKERS.TXT",)),
    ("CHiME-4", ("data/audio/16kHz/isolated_1ch_track",)),
    ("CHiME-3", ("data/audio/16kHz",)),
    ("WSJ, a folder a disc", (f"1[13][-_]*[-._][0-9]/{WSJ0}",)),
    ("WSJ, a folder a disc", (f"1[13][-_]*[-._][0-9]/{WSJ1}",)),
    ("WSJ, its discs merged", (f"{WSJ0}/si_tr_s", f"{WSJ0}/si_et_20")),
    ("WSJ, its discs merged", (f"{WSJ1}/si_tr_s", f"{WSJ1}/trans")),
    ("AISHELL-1 with its speakers still packed", ("transcript/aishell_transcript_v0.8.txt", "wav/S*.tar.gz")),
    ("AISHELL-1", ("transcript/aishell_transcript_v0.8.txt",)),
    ("THCHS-30", ("lm_word", "data/*.wav.trn")),
    ("MUSAN", ("music/*/ANNOTATIONS",)),
    ("MUSAN", ("noise/free-sound",)),
    ("RIRS_NOISES", ("simulated_rirs",)),
    ("RIRS_NOISES", ("real_rirs_isotropic_noises",)),
    ("VoxForge", (f"{SUBMISSION}/etc",)),
    ("VoxForge, its submissions still packed", (f"{SUBMISSION}.tgz",)),
    ("the Free Spoken Digit Dataset", ("recordings/[0-9]_*_*.wav",)),
    ("a disc of WSJ", (f"{WSJ0}/*",)),
    ("a disc of WSJ", (f"{WSJ1}/*",)),
]
ARCHIVES = (".tar.gz", ".tgz", ".zip")
MOST_NAMES = 5


def describe(folder: Path) -> str:
    """One sentence, without its full stop, on what `folder` seems to be: for an error message."""
    if not folder.exists():
        return f"{folder} does not exist"
    if not folder.is_dir():
        return f"{folder} is a file"
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return f"{folder} is empty"
    shown = names if len(names) <= MOST_NAMES else [*names[:MOST_NAMES], "…"]
    found = seems(folder, names) or f"holds {', '.join(shown)}"
    archives = [name for name in names if name.endswith(ARCHIVES)] if "packed" not in found else []
    return f"{folder} {found}" + (f"; unpack {archives[0]} first" if archives else "")


def seems(folder: Path, names: list[str]) -> str | None:
    """What it looks like, what one of its folders does, or what it is a part of."""
    parent = folder.absolute().parent
    if (known := corpus_at(folder)) and not (known.startswith("a disc") and corpus_at(parent)):
        return f"looks like {known}"
    if known := corpus_at(parent):
        return f"is a part of {parent}, which looks like {known}"
    inside = ((name, corpus_at(folder / name)) for name in names if (folder / name).is_dir())
    return next((f"holds {name}, which looks like {known}" for name, known in inside if known), None)


def corpus_at(folder: Path) -> str | None:
    """The corpus whose landmarks stand right in `folder`."""
    for name, patterns in LANDMARKS:
        if all(any(folder.glob(pattern)) for pattern in patterns):
            return name
    return None
