"""The .z files of Unix compress, WSJ's language models: real LZW streams, though nothing gets shorter."""

import numpy as np

MAGIC = b"\x1f\x9d\x90"  # codes of up to 16 bits; code 256 clears the table
CODE_BITS = 9
CLEAR = 256
LITERALS = 200  # so few before each CLEAR that codes never grow beyond 9 bits
CODES = 208  # what follows a CLEAR starts at a multiple of 8 codes


def compress(data: bytes) -> bytes:
    """`data` as a .z file: every byte as its own code, the table cleared before it grows."""
    num_blocks = len(data) // LITERALS
    codes = np.zeros((num_blocks, CODES), np.uint16)
    codes[:, :LITERALS] = np.frombuffer(data, np.uint8, num_blocks * LITERALS).reshape(-1, LITERALS)
    codes[:, LITERALS] = CLEAR
    rest = np.frombuffer(data, np.uint8, offset=num_blocks * LITERALS) if len(data) % LITERALS else []
    return MAGIC + _pack(np.concatenate([codes.ravel(), np.asarray(rest, np.uint16)]))


def _pack(codes: np.ndarray) -> bytes:
    bits = codes[:, None] >> np.arange(CODE_BITS, dtype=np.uint16) & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
