"""Writes a made-up RIRS_NOISES: its exact tree of noises, real rooms and simulated ones, in a second."""

from pathlib import Path

import numpy as np

from ds2toolkit.files import whole_folder
from ds2toolkit.toy import acoustics
from ds2toolkit.toy.musan import RMS, write_wav
from ds2toolkit.toy.speech import SAMPLE_RATE_HZ

REAL = "real_rirs_isotropic_noises"
REAL_RIRS = {  # reverberation time, channels, the sign of the direct sound; Lhotse does not take AIR's for rooms
    "RVB2014_type1_rir_largeroom1_near_angla": (0.5, 8, 1),
    "RWCP_type4_rir_circle_e2b_imp090": (0.3, 1, -1),
    "air_type1_air_binaural_booth_0_1_1": (0.15, 2, 1),
}
ISOTROPIC = {
    "RVB2014_type1_noise_largeroom1_1": ("pink", 8),
    "RWCP_type2_noise_circle_e2b_imp000": ("hum", 1),
}
ROOM_FIELD = 3  # of these names
POINT = (("background", "pink"), ("foreground", "white"))
ROOMS_RT60_S = {"small": 0.2, "medium": 0.4, "large": 0.7}
NOISE_S, PEAK = 5.0, 0.5
DELAY_S = (0.002, 0.03)  # from the source to the microphone
README = "A made-up corpus in the layout of RIRS_NOISES. Good for trying a recipe.\n"


def toy(folder: Path, seed: int = 0) -> None:
    """Write `folder`/RIRS_NOISES, whole or not at all; one that is there already stays. One seed, the same bytes."""
    if (folder / "RIRS_NOISES").exists():
        return
    with whole_folder(folder / "RIRS_NOISES") as root:
        (root / "README").write_text(README, encoding="utf-8")
        write_point_noises(root, np.random.default_rng((seed, 1)))
        write_real(root, np.random.default_rng((seed, 2)))
        for number, (size, rt60_s) in enumerate(ROOMS_RT60_S.items()):
            write_simulated(root, f"{size}room", rt60_s, np.random.default_rng((seed, 3, number)))


def write_point_noises(root: Path, rng: np.random.Generator) -> None:
    folder, rows = root / "pointsource_noises", []
    for number, (ground, kind) in enumerate(POINT):
        path = folder / f"noise-free-sound-{number:04d}.wav"
        write_noise(path, kind, 1, rng)
        write_list(folder / f"{ground}_noise_list", [path.stem])
        kinds = f"--noise-type point-source --bg-fg-type {ground}"
        rows.append(f"--noise-id {number + 1:04d} {kinds} {listed(path, root)}")
    write_list(folder / "noise_list", rows)


def write_real(root: Path, rng: np.random.Generator) -> None:
    """Rooms of the REVERB challenge, RWCP and AIR; noise from everywhere in the first two."""
    rirs, noises = [], []
    for number, (name, (rt60_s, num_channels, sign)) in enumerate(REAL_RIRS.items(), start=1):
        path = root / REAL / f"{name}.wav"
        write_rir(path, rt60_s, rng, num_channels, sign)
        rirs.append(f"--rir-id {number:05d} --room-id {name.split('_')[ROOM_FIELD]} {listed(path, root)}")
    for number, (name, (kind, num_channels)) in enumerate(ISOTROPIC.items(), start=1):
        path, room = root / REAL / f"{name}.wav", name.split("_")[ROOM_FIELD]
        write_noise(path, kind, num_channels, rng)
        noises.append(f"--noise-id {number:03d} --noise-type isotropic --room-linkage {room} {listed(path, root)}")
    write_list(root / REAL / "rir_list", rirs)
    write_list(root / REAL / "noise_list", noises)


def write_simulated(root: Path, room: str, rt60_s: float, rng: np.random.Generator) -> None:
    """One room with two places of the source. The files of all sizes of rooms have the same names."""
    folder, rows = root / "simulated_rirs" / room, []
    for number in (1, 2):
        path = folder / "Room001" / f"Room001-{number:05d}.wav"
        write_rir(path, rt60_s, rng)
        places = f"--receiver-position-id 001 --source-position-id {number:05d}"
        sound = f"--rt60 {rt60_s:.2f} --drr {acoustics.DIRECT_TO_REVERBERANT_DB:.3f}"
        rows.append(f"--rir-id {number:05d} --room-id 001 {places} {sound} {listed(path, root)}")
    write_list(folder / "rir_list", rows)
    write_list(folder / "room_info", ["Room001"])


def listed(path: Path, root: Path) -> str:
    """The path as the lists have it."""
    return f"RIRS_NOISES/{path.relative_to(root).as_posix()}"


def write_noise(path: Path, kind: str, num_channels: int, rng: np.random.Generator) -> None:
    num_samples = round(NOISE_S * SAMPLE_RATE_HZ)
    noise = np.stack([acoustics.NOISES[kind](num_samples, rng) for _ in range(num_channels)], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, noise * RMS / np.std(noise))


def write_rir(path: Path, rt60_s: float, rng: np.random.Generator, num_channels: int = 1, sign: int = 1) -> None:
    """An impulse response whose direct sound comes late, as sound takes time to travel."""
    delay = np.zeros(round(rng.uniform(*DELAY_S) * SAMPLE_RATE_HZ))
    channels = [
        np.concatenate([delay, sign * acoustics.impulse_response(rt60_s, rng)]) for _ in range(num_channels)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, PEAK * np.stack(channels, axis=1))


def write_list(path: Path, rows: list[str]) -> None:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
