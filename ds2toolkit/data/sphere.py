"""NIST SPHERE files that libsndfile can't read, shortened as WSJ's .wv1 are: their headers and samples.

FFmpeg decodes them, through PyAV. No torch and no lhotse here, so that processes that convert start at once.
"""

import io
from pathlib import Path

import av
import numpy as np
import soundfile

from ds2toolkit.errors import DataError
from ds2toolkit.files import whole

MAGIC = b"NIST_1A\n"
PREAMBLE_BYTES = 16  # the magic, and on a line of its own the number of bytes in the header
COUNTS = {"sample_count": 0, "sample_rate": 1, "channel_count": 1}  # what has to be stated, and the least of each

Header = dict[str, str | int | float]


def read_header(path: Path) -> Header:
    """The fields of a SPHERE header, in any order.

    Raises DataError when that is no header of SPHERE, is damaged, or has not the fields of COUNTS.
    """
    try:
        with path.open("rb") as file:
            preamble = file.read(PREAMBLE_BYTES)
            size = preamble[len(MAGIC) :].strip()
            if not preamble.startswith(MAGIC) or not size.isdigit():
                raise DataError(f"{path} is no NIST SPHERE file")
            lines = file.read(int(size) - PREAMBLE_BYTES).decode("latin-1").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if "end_head" not in lines:
        raise DataError(f"{path} ends within its header")
    fields = {"channel_count": 1, **dict(map(field, lines[: lines.index("end_head")]))}
    for name, least in COUNTS.items():
        if not isinstance(fields.get(name), int) or fields[name] < least:
            raise DataError(f"{path} states no {name}, or one that cannot be")
    return fields


def field(line: str) -> tuple[str, str | int | float]:
    """Name and value of `name -sN text`, `name -i integer` or `name -r real`; text where a number is none."""
    name, kind, value = [*line.split(" ", 2), "", ""][:3]
    try:
        return name, {"-i": int, "-r": float}.get(kind, str)(value)
    except ValueError:
        return name, value


def is_compressed(path: Path) -> bool:
    """Whether a file is SPHERE of a coding that wants decompressing, by its header."""
    try:
        return "embedded" in str(read_header(path).get("sample_coding", ""))
    except DataError:
        return False


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples and sample rate in Hz of a SPHERE file: (num_samples,) int16, or (num_samples, num_channels).

    Raises DataError when it can't be decoded, or when the samples' number or checksum is not as stated.
    """
    header = read_header(path)
    stated = header["sample_count"]
    samples = _decoded(path) if stated else np.zeros((0, 1), np.int16)
    if len(samples) != stated:
        raise DataError(f"{path} has {len(samples)} samples instead of {stated}")
    sums = checksum(samples), checksum(samples.byteswap())
    if header.get("sample_checksum", sums[0]) not in sums:
        raise DataError(f"{path} is damaged: its samples do not add up to its sample_checksum")
    return samples.squeeze(1) if samples.shape[1] == 1 else samples, header["sample_rate"]


def checksum(samples: np.ndarray) -> int:
    """The sum modulo 2^16. Until 1993 NIST's own programs could take it of the bytes in the other order."""
    return int(samples.sum(dtype=np.int64)) % 2**16


def _decoded(path: Path) -> np.ndarray:
    """(num_samples, num_channels) int16."""
    blocks = av.AudioFifo()  # of 256 samples: an array of each would take longer than decoding it
    try:
        with av.open(str(path), format="nistsphere") as container:
            for block in container.decode(audio=0):
                blocks.write(block)
    except (av.FFmpegError, IndexError, ValueError) as error:  # also: no audio, blocks of several kinds
        raise DataError(f"{path} cannot be decoded: {error}") from None
    if blocks.samples == 0 or blocks.format.bytes != 2:
        raise DataError(f"{path} has no 16-bit samples")
    array = blocks.read().to_ndarray()
    return array.T if blocks.format.is_planar else array.reshape(-1, blocks.layout.nb_channels)


def convert(paths: tuple[Path, Path]) -> str:
    """Decode the first file into the second, a FLAC, unless that is there and no older. Returns the fault."""
    source, flac = paths
    try:
        if not is_converted(source, flac):
            samples, sample_rate_hz = decode(source)
            file = io.BytesIO()  # a full disk is told by its own name only where libsndfile does not write
            soundfile.write(file, samples, sample_rate_hz, format="FLAC", subtype="PCM_16")
            with whole(flac) as part:
                part.write_bytes(file.getbuffer())
    except DataError as error:
        return str(error)
    return ""


def is_converted(source: Path, flac: Path) -> bool:
    """Whether `flac` is a younger file with as many samples: another corpus may have had the same ids."""
    if not flac.exists() or flac.stat().st_mtime < source.stat().st_mtime:
        return False
    try:
        return soundfile.info(flac).frames == read_header(source)["sample_count"]
    except soundfile.LibsndfileError:
        return False
