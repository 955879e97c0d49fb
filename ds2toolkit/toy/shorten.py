"""Shorten, the lossless coding of WSJ's audio: first differences in Rice codes.

Robinson, "SHORTEN: Simple lossless and near-lossless waveform compression" (CUED/F-INFENG/TR.156, 1994).
"""

import numpy as np

MAGIC = b"ajkg\x02"
BLOCK_SAMPLES = 256
BIG_ENDIAN, LITTLE_ENDIAN = 3, 5  # shorten's numbers for 16-bit samples
DIFF1, QUIT, BLOCKSIZE = 1, 4, 5
COMMAND_BITS, ENERGY_BITS, LONG_BITS = 2, 3, 2
MAX_RICE_BITS = 17  # no difference of two samples needs more
STREAM_BYTES = 4  # readers take the bits after MAGIC in words

Codes = tuple[np.ndarray, np.ndarray]  # unsigned values, and how many low bits each writes as they are


def encode(samples: np.ndarray, big_endian: bool = False) -> bytes:
    """(num_samples,) int16 as a shorten stream. big_endian: the order of bytes that it says it had."""
    differences = np.diff(samples.astype(np.int64), prepend=0)
    unsigned = np.where(differences < 0, ~differences * 2 + 1, differences * 2)
    num_whole = len(unsigned) // BLOCK_SAMPLES * BLOCK_SAMPLES
    whole, rest = unsigned[:num_whole].reshape(-1, BLOCK_SAMPLES), unsigned[num_whole:]
    file_type = BIG_ENDIAN if big_endian else LITTLE_ENDIAN
    num_channels, no_predictor, no_mean, no_skip = 1, 0, 0, 0
    codes = [_long(v) for v in (file_type, num_channels, BLOCK_SAMPLES, no_predictor, no_mean, no_skip)]
    codes.append(_blocks(whole))
    if len(rest):
        codes += [_code(BLOCKSIZE, COMMAND_BITS), _long(len(rest)), _blocks(rest[None])]
    codes.append(_code(QUIT, COMMAND_BITS))
    values, num_low_bits = (np.concatenate(part) for part in zip(*codes, strict=True))
    return MAGIC + _pack(values, num_low_bits)


def _blocks(blocks: np.ndarray) -> Codes:
    """Codes of (num_blocks, num_samples) values: of each block a command, its Rice parameter, the samples."""
    num_bits = _rice_bits(blocks)[:, None]
    head = np.full_like(num_bits, DIFF1), num_bits - 1
    values = np.concatenate([*head, blocks], axis=1)
    head_bits = np.broadcast_to([[COMMAND_BITS, ENERGY_BITS]], (len(blocks), 2))
    num_low_bits = np.concatenate([head_bits, np.broadcast_to(num_bits, blocks.shape)], axis=1)
    return values.ravel(), num_low_bits.ravel()


def _rice_bits(blocks: np.ndarray) -> np.ndarray:
    """The number of low bits, 1 to 17, that makes each block shortest."""
    candidates = range(1, MAX_RICE_BITS + 1)
    costs = [(blocks >> k).sum(axis=1) + k * blocks.shape[1] for k in candidates]
    return np.argmin(costs, axis=0) + candidates[0]


def _code(value: int, num_low_bits: int) -> Codes:
    return np.array([value]), np.array([num_low_bits])


def _long(value: int) -> Codes:
    num_bits = value.bit_length()
    return np.array([num_bits, value]), np.array([LONG_BITS, num_bits])


def _pack(values: np.ndarray, num_low_bits: np.ndarray) -> bytes:
    """Each value as its high part in zeros, a one, and its low bits, the highest first."""
    ends = np.cumsum((values >> num_low_bits) + 1 + num_low_bits)
    bits = np.zeros(-(-ends[-1] // (8 * STREAM_BYTES)) * 8 * STREAM_BYTES, np.uint8)
    bits[ends - 1 - num_low_bits] = 1
    for place in range(num_low_bits.max()):
        has = num_low_bits > place
        bits[ends[has] - 1 - place] = values[has] >> place & 1
    return np.packbits(bits).tobytes()
