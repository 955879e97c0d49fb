"""Conditions and test sets that are named after a signal-to-noise ratio: 10 for `10 dB`, `test-10dB`, `snr10`."""

import re

SNR = re.compile(r"(-?\d+(?:\.\d+)?)[ _-]?db\b|\bsnr[ _=]?(-?\d+(?:\.\d+)?)", re.IGNORECASE)
CLEAN = frozenset({"clean", "quiet"})


def snr_db(name: str) -> float | None:
    """The ratio in the name, None where it has none. A minus belongs to the number only after a space, `=` or nothing."""
    found = SNR.search(re.sub(r"(?<=\w)[-_](?=\d)", " ", name))
    return float(found[1] or found[2]) if found else None


def without_snr(name: str) -> str:
    """`test` for `test-10dB`."""
    return SNR.sub("", re.sub(r"(?<=\w)[-_](?=\d)", " ", name)).strip(" -_")


def noisier(name: str) -> tuple:
    """A key that sorts test sets by name, and those of one name from the clean one to the noisiest."""
    ratio = snr_db(name)
    return without_snr(name), ratio is not None, -(ratio or 0)
