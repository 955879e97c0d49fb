"""Verb `noise`: MUSAN, RIRS_NOISES or any recordings as noise and rooms for a recipe's training, and for its tests."""

import shutil
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from lhotse import MonoCut, RecordingSet
from lhotse.cut import Cut
from lhotse.recipes.musan import MUSAN_URL, prepare_musan
from lhotse.recipes.rir_noise import RIR_NOISE_ZIP_URL, prepare_rir_noise

from ds2toolkit.data import cuts as cut_files
from ds2toolkit.data import noisy
from ds2toolkit.data.archive import unpack
from ds2toolkit.data.corpus import audio_fault, read_lines
from ds2toolkit.data.fetch import fetch
from ds2toolkit.data.landmarks import describe
from ds2toolkit.data.noise import NOISES, ROOMS
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import whole_folder
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.toy import musan as toy_musan
from ds2toolkit.toy import rirs as toy_rirs

MUSAN_PARTS = ("music", "noise")
REAL = "real_rirs_isotropic_noises"
RIRS_PARTS = ("pointsource_noises", REAL, "simulated_rirs")
TRUNCATED = "audio is truncated"


def run(
    recipe: Recipe,
    musan: Path | None,
    rirs: Path | None,
    download: bool,
    noises: Path | None = None,
    test_noises: str | None = None,
) -> None:
    """Write data/noise anew: noises and rooms of the corpora that are named; and test sets in noise, where the recipe has any.

    What stands there stays where none is named. noises: a folder of recordings, of which those that the pattern
    test_noises fits are kept from training and make the test sets.
    """
    folder = recipe.work / "corpus-noise"
    if not download and musan is noises is rirs is None and (recipe.data / "noise").exists():
        print(f"{shown(recipe.data / 'noise')} is there already; name --musan, --rirs or --noises to make it anew")
        return
    if recipe.config.splits.noisy and not (noises and test_noises):
        names = ", ".join(recipe.config.splits.noisy)
        raise UserError(f"{names}: made with --noises DIR --test-noises PATTERN, recordings that training doesn't hear")
    if download:
        musan, rirs = musan or fetch_musan(folder), rirs or fetch_rirs(folder)
    elif musan is noises is rirs is None:
        musan, rirs = made_up(recipe, folder)
    train_with: list[Cut] = []
    rooms: list[MonoCut] = []
    if noises is not None:
        train_with += read_noises(recipe, noises, test_noises)
    if musan is not None:
        train_with += read_musan(musan)
    if rirs is not None:
        more, rooms = read_rirs(rirs)
        train_with += more
    write(recipe, train_with, rooms)


def read_noises(recipe: Recipe, folder: Path, test_noises: str | None) -> list[Cut]:
    """The recordings to train with; the test sets in noise are made of the others."""
    found = noisy.read_folder(folder, recipe.config.features.sample_rate_hz)
    held_out = {path for path in found if test_noises and path.match(test_noises)}
    if test_noises and not 0 < len(held_out) < len(found):
        raise UserError(f"--test-noises {test_noises!r} fits {len(held_out)} of {len(found)} recordings in {shown(folder)}")
    print(f"{shown(folder)}: {len(found) - len(held_out):,d} noises to train with, {len(held_out):,d} for test sets alone")
    for name in recipe.config.splits.noisy:
        write_noisy(recipe, name, [found[path] for path in sorted(held_out)])
    return [cut for path, cut in found.items() if path not in held_out]


def write_noisy(recipe: Recipe, name: str, noises: list[Cut]) -> None:
    clean, snr_db = recipe.config.splits.noisy[name]
    cuts = list(cut_files.read(recipe.need(recipe.cuts(clean), "prepare", "noise")))
    recipe.cuts(name).unlink(missing_ok=True)  # the set is there again when all of its audio is
    cut_files.write(noisy.in_noise(cuts, noises, snr_db, recipe.data / "audio" / name, name), recipe.cuts(name))
    print(f"{name}: {len(cuts):,d} utterances of {clean} in noise at {snr_db:g} dB")


def made_up(recipe: Recipe, folder: Path) -> tuple[Path, Path]:
    """Toy corpora for a toy. Raises UserError for a recipe that is none."""
    if not recipe.is_toy:
        raise UserError(
            "noise needs --musan DIR, --rirs DIR or both, or --noises DIR; or --download, which fetches MUSAN (OpenSLR 17, 11 GB)\n"
            f"and RIRS_NOISES (OpenSLR 28, 1.3 GB) to {shown(folder)} and unpacks them there.\n"
            f"Run: ds2 noise --recipe {shown(recipe.folder)} --musan DIR --rirs DIR, and then this again"
        )
    toy_musan.toy(folder)
    toy_rirs.toy(folder)
    return folder / "musan", folder / "RIRS_NOISES"


def fetch_musan(folder: Path) -> Path:
    archive, root = folder / "musan.tar.gz", folder / "musan"
    if not root.exists():
        fetch(MUSAN_URL, archive)
        unpack(archive, root)
        archive.unlink()
    return root


def fetch_rirs(folder: Path) -> Path:
    archive, root = folder / "rirs_noises.zip", folder / "RIRS_NOISES"
    if not root.exists():
        fetch(RIR_NOISE_ZIP_URL, archive)
        unzip(archive, root)
        archive.unlink()
    return root


def unzip(archive: Path, folder: Path) -> None:
    """Unpack a zip into `folder`, whole or not at all. Raises DataError when it is damaged."""
    try:
        with whole_folder(folder) as part:
            shutil.unpack_archive(archive, part, "zip")
    except (shutil.ReadError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is damaged ({error}).\nDelete it and fetch it again: rm {archive}") from None


def read_musan(folder: Path) -> list[MonoCut]:
    """Music, with voices or without, and noise; MUSAN's speech is left out. Raises DataError for another folder."""
    root = find(folder, "musan", MUSAN_PARTS)
    check_annotations(root / "music")
    broken = check_audio(root / part for part in MUSAN_PARTS)
    parts = {part: found["recordings"] for part, found in prepare_musan(root, parts=MUSAN_PARTS).items()}
    cuts = {part: as_cuts("musan", recordings, broken) for part, recordings in parts.items()}
    music, noises = cuts["music"], cuts["noise"]
    print(f"{shown(root)}: {len(music):,d} pieces of music, {len(noises):,d} noises; its speech is not used")
    say_left_out(broken)
    return music + noises


def read_rirs(folder: Path) -> tuple[list[MonoCut], list[MonoCut]]:
    """Noises (point-source and isotropic) and rooms (real and simulated). Raises DataError for another folder."""
    root = find(folder, "RIRS_NOISES", RIRS_PARTS)
    broken = check_audio(root / part for part in RIRS_PARTS)
    parts = {part: found["recordings"] for part, found in prepare_rir_noise(root).items()}
    cuts = {part: as_cuts("rirs", recordings, broken) for part, recordings in parts.items()}
    counts = {part: f"{len(found):,d}" for part, found in cuts.items()}
    print(
        f"{shown(root)}: {counts['point_noise']} point-source and {counts['iso_noise']} isotropic noises; "
        f"{counts['real_rir']} real and {counts['sim_rir']} simulated rooms"
    )
    say_left_out(broken)
    say_quirks(root, sum(recording.num_channels > 1 for recordings in parts.values() for recording in recordings))
    return cuts["point_noise"] + cuts["iso_noise"], cuts["real_rir"] + cuts["sim_rir"]


def find(folder: Path, name: str, parts: Sequence[str]) -> Path:
    """The folder, or the one called `name` in it, that has all parts. Raises DataError saying what was looked for."""
    folder = Path(folder).absolute()
    missing = {
        root: [part for part in parts if not any((root / part).rglob("*.wav"))] for root in (folder, folder / name)
    }
    best = min(missing, key=lambda root: len(missing[root]))
    if missing[best]:
        raise DataError(f"no whole {name} at {best}: no .wav below its {', '.join(missing[best])}; {describe(folder)}")
    return best


def check_annotations(music: Path) -> None:
    """Raise DataError unless music has its ANNOTATIONS, and a wav for every id in them: Lhotse wants each."""
    lists = sorted(music.rglob("ANNOTATIONS"))
    if not lists:
        raise DataError(f"no ANNOTATIONS file below {music}: this copy of MUSAN is not whole; unpack it again")
    names = {path.stem for path in music.rglob("*.wav")}
    for path in lists:
        for line in read_lines(path):
            fields = line.split()
            if len(fields) < 4:
                raise DataError(f"{path}: expected `id genres Y|N artist`, found {line!r}")
            if fields[0] not in names:
                wav = path.with_name(f"{fields[0]}.wav")
                raise DataError(f"{wav} is missing, but {path} names it; unpack MUSAN again")


def check_audio(folders: Iterable[Path]) -> set[Path]:
    """The files to leave out as they end too soon. Raises DataError for those that Lhotse could not get past."""
    faults = {path: audio_fault(path) for folder in folders for path in sorted(folder.rglob("*.wav"))}
    broken = {path: fault for path, fault in faults.items() if fault[0]}
    for path, (reason, detail) in broken.items():
        if reason != TRUNCATED:
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise DataError(f"{path}{more}: {reason} ({detail}).\nThis copy is not whole: unpack it again.")
    return set(broken)


def as_cuts(corpus: str, recordings: RecordingSet, broken: set[Path]) -> list[MonoCut]:
    """The first channel of each recording, in the order of ids; both corpora have a noise-free-sound-0000."""
    usable = (one for one in recordings if Path(one.sources[0].source) not in broken)
    return [
        MonoCut(f"{corpus}-{one.id}", start=0, duration=one.duration, channel=one.channel_ids[0], recording=one)
        for one in sorted(usable, key=lambda one: one.id)
    ]


def say_left_out(broken: set[Path]) -> None:
    if broken:
        print(f"left out for ending too soon: {len(broken)}, the first {shown(min(broken))}")


def say_quirks(root: Path, num_multichannel: int) -> None:
    """Say what Lhotse leaves out, what is taken of several channels, and how many files of the lists are not there."""
    stems = [path.stem for path in (root / REAL).rglob("*.wav")]
    if others := sorted(stem for stem in stems if "rir" not in stem and "noise" not in stem):
        print(f"left out by Lhotse, being neither *rir* nor *noise*: {len(others)}, the first {others[0]}.wav")
    if num_multichannel:
        print(f"of several channels, the first one is used: {num_multichannel} files")
    for path in sorted(root.rglob("rir_list")):
        there = {wav.name for wav in path.parent.rglob("*.wav")}
        if missing := [name for line in read_lines(path) if (name := line.split("/")[-1]) not in there]:
            print(f"named by {shown(path)} but not there: {len(missing)}, the first {missing[0]}")


def write(recipe: Recipe, noises: list[Cut], rooms: list[MonoCut]) -> None:
    """Write the cuts at the recipe's sample rate, both lists or none. Rooms are left out where there are none."""
    rate_hz, folder = recipe.config.features.sample_rate_hz, recipe.data / "noise"
    with whole_folder(folder) as part:
        for name, cuts in ((NOISES, noises), (ROOMS, rooms)):
            cuts = [cut if cut.sampling_rate == rate_hz else cut.resample(rate_hz) for cut in cuts]
            if cuts:
                cut_files.write(cuts, part / name)
    hours = sum(cut.duration for cut in noises) / 3600
    print(f"{len(noises):,d} noises ({hours:.2f} hours) and {len(rooms):,d} rooms at {rate_hz} Hz in {shown(folder)}")
