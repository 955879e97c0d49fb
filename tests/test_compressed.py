"""Compressed text: each of the three kinds is told from its first bytes, whatever its name."""

import gzip
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text.compressed import open_text
from ds2toolkit.toy.lzw import LITERALS, compress

TEXT = "\\data\\\nngram 1=5\n\nIT'S Ä LINE\n" * 400


@pytest.mark.parametrize("write", [bytes, gzip.compress, compress], ids=["plain", "gzip", "lzw"])
def test_the_same_text_comes_out_of_every_kind(tmp_path, write):
    path = tmp_path / "tcb20onp.z"
    path.write_bytes(write(TEXT.encode() + b"\xff\r\nlast"))
    with open_text(path) as lines:
        assert lines.read() == TEXT + "\ufffd\nlast"
    with open_text(path) as lines:
        assert next(lines) == "\\data\\\n"


def test_an_empty_file_is_an_empty_text(tmp_path):
    for data in (b"", gzip.compress(b""), compress(b"")):
        (tmp_path / "x").write_bytes(data)
        with open_text(tmp_path / "x") as lines:
            assert lines.read() == ""


@given(num_bytes=st.integers(0, 3 * LITERALS + 2), seed=st.integers(0, 2**32 - 1))
def test_lzw_is_what_gzip_reads(num_bytes, seed):
    data = np.random.default_rng(seed).bytes(num_bytes)
    done = subprocess.run(["gzip", "-dc"], input=compress(data), capture_output=True, check=True)
    assert done.stdout == data


def test_a_damaged_file_is_one_line_with_its_name(tmp_path):
    packed = gzip.compress(np.random.default_rng(0).bytes(100_000))
    hurt = bytearray(packed)
    hurt[50_000] ^= 0xFF
    never = bytearray(compress(TEXT.encode()))
    never[3:6] = b"\xff\xff\xff"  # a code that the table does not have
    for data in (packed[:60_000], bytes(hurt), bytes(never), b"\x1f\x9d"):
        (tmp_path / "lm.z").write_bytes(data)
        with pytest.raises(DataError, match=r"lm\.z is damaged: .") as caught:
            with open_text(tmp_path / "lm.z") as lines:
                lines.read()
        assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(DataError, match="none cannot be read: No such file"), open_text(tmp_path / "none"):
        pass


def test_without_gzip_the_user_hears_of_it(tmp_path, monkeypatch):
    (tmp_path / "lm.z").write_bytes(compress(b"x"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install gzip"), open_text(tmp_path / "lm.z"):
        pass


def test_what_goes_wrong_while_reading_keeps_its_own_name(tmp_path):
    (tmp_path / "x").write_text("x", encoding="utf-8")
    with pytest.raises(KeyError), open_text(tmp_path / "x"):
        raise KeyError
