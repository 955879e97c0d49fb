"""NIST SPHERE files as AN4 has them: a 1,024-byte text header, then big-endian 16-bit samples."""

from pathlib import Path

import numpy as np

HEADER_BYTES = 1024


def write_sphere(path: Path, samples: np.ndarray, sample_rate_hz: int) -> None:
    """Write (num_samples,) int16 as one channel of plain PCM."""
    fields = (
        "NIST_1A",
        f"{HEADER_BYTES:7d}",
        "channel_count -i 1",
        f"sample_rate -i {sample_rate_hz}",
        "sample_n_bytes -i 2",
        "sample_sig_bits -i 16",
        "sample_coding -s3 pcm",
        "sample_byte_format -s2 10",
        f"sample_count -i {len(samples)}",
        "end_head",
    )
    header = "".join(field + "\n" for field in fields).encode("ascii").ljust(HEADER_BYTES, b"\0")
    path.write_bytes(header + samples.astype(">i2").tobytes())
