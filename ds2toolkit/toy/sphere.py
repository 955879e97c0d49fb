"""NIST SPHERE files: a text header of 1,024 bytes, then samples, plain as AN4's or shortened as WSJ's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from ds2toolkit.toy import shorten

HEADER_BYTES = 1024
Coding = Literal["pcm", "shorten-v1.09", "shorten-v2.00"]
Fields = Mapping[str, str | int | float]


def write_sphere(
    path: Path,
    samples: np.ndarray,
    sample_rate_hz: int,
    coding: Coding = "pcm",
    little_endian: bool = False,
    fields: Fields = {},
) -> None:
    """Write (num_samples,) int16 as one channel.

    coding: the two of shorten differ in their label only. fields: more of the header, such as speaker_id, or
    other values than the true ones; without them the header of plain samples is as short as AN4's.
    """
    stated = {
        "channel_count": 1,
        "sample_rate": sample_rate_hz,
        "sample_n_bytes": 2,
        "sample_sig_bits": 16,
        "sample_coding": coding if coding == "pcm" else f"pcm,embedded-{coding}",
        "sample_byte_format": "01" if little_endian else "10",
        "sample_count": len(samples),
    }
    if fields or coding != "pcm":
        stated |= statistics(samples)
    if coding == "pcm":
        data = samples.astype("<i2" if little_endian else ">i2").tobytes()
    else:
        data = shorten.encode(samples, big_endian=not little_endian)
    path.write_bytes(header({**fields, **stated, **fields}) + data)


def statistics(samples: np.ndarray) -> dict[str, int]:
    extremes = {"sample_min": int(samples.min()), "sample_max": int(samples.max())} if len(samples) else {}
    return {**extremes, "sample_checksum": int(samples.sum(dtype=np.int64)) % 2**16}


def header(fields: Fields) -> bytes:
    lines = [f"{name} {_typed(value)}" for name, value in fields.items()]
    text = "\n".join(["NIST_1A", f"{HEADER_BYTES:7d}", *lines, "end_head", ""]).encode("ascii")
    if len(text) > HEADER_BYTES:
        raise ValueError(f"{len(text)} bytes of fields do not fit into a header of {HEADER_BYTES}")
    return text.ljust(HEADER_BYTES, b"\0")


def _typed(value: str | int | float) -> str:
    if isinstance(value, str):
        return f"-s{len(value)} {value}"
    return f"-i {value}" if isinstance(value, int) else f"-r {value:f}"
