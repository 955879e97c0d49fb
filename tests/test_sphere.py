"""SPHERE files: what is shortened comes back sample by sample, what is damaged is told."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ds2toolkit.data.sphere import decode, is_compressed, read_header
from ds2toolkit.errors import DataError
from ds2toolkit.toy import shorten
from ds2toolkit.toy.sphere import write_sphere

RATE_HZ = 16_000
CODINGS = ("pcm", "shorten-v1.09", "shorten-v2.00")
FIELDS = {"speaker_id": "4k0", "microphone": "Sennheiser HMD 410", "utterance_id": "4k0c0301", "gain": 1.5}


def speechlike(num_samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(num_samples) * 500).astype(np.int16)


@st.composite
def recordings(draw) -> np.ndarray:
    """Lengths around the block's, and samples from silence over speech to the extremes, mixed by blocks."""
    num_samples = draw(st.sampled_from([0, 1, 2, 255, 256, 257, 511, 512, 513]) | st.integers(0, 3000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = rng.choice([0, 1, 40, 3000, 65535], 1 + num_samples // 256).repeat(256)[:num_samples]
    samples = rng.uniform(-0.5, 0.5, num_samples) * spread
    samples[rng.random(num_samples) < draw(st.sampled_from([0, 0.01, 0.5]))] = rng.choice([-32768, 32767])
    return samples.astype(np.int16)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("little_endian", [False, True])
def test_what_was_encoded_is_decoded(tmp_path_factory, coding, little_endian):
    path = tmp_path_factory.mktemp("sphere") / "4k0c0301.wv1"

    @given(samples=recordings())
    def check(samples):
        write_sphere(path, samples, RATE_HZ, coding, little_endian, FIELDS)
        decoded, rate_hz = decode(path)
        assert decoded.dtype == np.int16 and rate_hz == RATE_HZ
        assert np.array_equal(decoded, samples)

    check()


@given(samples=recordings())
def test_a_shorten_stream_is_made_of_words(samples):
    """Some readers take four bytes at a time, and lose the end of a stream that is no multiple of them."""
    stream = shorten.encode(samples)
    assert stream.startswith(b"ajkg\x02") and (len(stream) - 5) % 4 == 0


def test_speech_gets_shorter():
    samples = np.cumsum(speechlike(RATE_HZ) // 40).astype(np.int16)
    assert len(shorten.encode(samples)) < 0.5 * samples.nbytes


def test_a_header_is_read_whatever_its_order(tmp_path):
    write_sphere(tmp_path / "x", speechlike(9), RATE_HZ, "shorten-v2.00", fields=FIELDS)
    fields = read_header(tmp_path / "x")
    assert {name: fields[name] for name in FIELDS} == FIELDS
    assert (fields["sample_count"], fields["sample_rate"], fields["channel_count"]) == (9, RATE_HZ, 1)
    assert fields["sample_coding"] == "pcm,embedded-shorten-v2.00"
    magic, size, *lines, end, _ = (tmp_path / "x").read_bytes()[:1024].split(b"\n")
    turned = b"\n".join([magic, size, *reversed(lines), end, b""]).ljust(1024, b"\0")
    assert turned != (tmp_path / "x").read_bytes()[:1024]
    (tmp_path / "y").write_bytes(turned + (tmp_path / "x").read_bytes()[1024:])
    assert read_header(tmp_path / "y") == fields
    assert np.array_equal(decode(tmp_path / "y")[0], speechlike(9))


def test_the_plain_header_is_as_short_as_an4s(tmp_path):
    write_sphere(tmp_path / "x", speechlike(9), RATE_HZ)
    names = "channel_count sample_rate sample_n_bytes sample_sig_bits sample_coding sample_byte_format"
    assert list(read_header(tmp_path / "x")) == [*names.split(), "sample_count"]


def test_fields_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="do not fit"):
        write_sphere(tmp_path / "x", speechlike(9), RATE_HZ, fields={"comment": "x" * 1000})


def test_only_compressed_sphere_is_compressed(tmp_path):
    for coding in CODINGS:
        write_sphere(tmp_path / coding, speechlike(9), RATE_HZ, coding)
    soundfile.write(tmp_path / "x.wav", speechlike(9), RATE_HZ)
    (tmp_path / "empty").touch()
    found = {path.name for path in tmp_path.iterdir() if is_compressed(path)}
    assert found == {"shorten-v1.09", "shorten-v2.00"}
    assert not is_compressed(tmp_path / "none") and not is_compressed(tmp_path)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kept", [1024, 1030, 2000, 0.5, 0.99])
def test_a_file_cut_off_is_told(tmp_path, coding, kept):
    path = tmp_path / "x.wv1"
    write_sphere(path, speechlike(5000), RATE_HZ, coding)
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    faults = r"has \d+ samples instead of 5000|cannot be decoded|is damaged|has no 16-bit samples"
    with pytest.raises(DataError, match=rf"x\.wv1 ({faults})"):
        decode(path)


def test_no_damage_to_a_stream_goes_unseen(tmp_path):
    path, samples = tmp_path / "x.wv1", speechlike(2000)
    write_sphere(path, samples, RATE_HZ, "shorten-v2.00")
    whole = path.read_bytes()
    for seed in range(60):
        data = bytearray(whole)
        data[np.random.default_rng(seed).integers(1024 + 16, len(data) - 8)] ^= 0x5A
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"x\.wv1"):
            decode(path)


@pytest.mark.parametrize("wrong", [{"sample_checksum": 1}, {"sample_count": 1999}, {"sample_count": 0}])
def test_a_header_that_says_otherwise_is_told(tmp_path, wrong):
    write_sphere(tmp_path / "x", speechlike(2000), RATE_HZ, "shorten-v1.09", fields=wrong)
    with pytest.raises(DataError, match="instead of 1999|is damaged"):
        decode(tmp_path / "x")


def test_a_checksum_of_swapped_bytes_is_taken(tmp_path):
    """NIST's own programs of before 1993 wrote it on machines of the other byte order."""
    samples = speechlike(2000)
    swapped = int(samples.byteswap().sum(dtype=np.int64)) % 2**16
    write_sphere(tmp_path / "x", samples, RATE_HZ, "shorten-v1.09", fields={"sample_checksum": swapped})
    assert np.array_equal(decode(tmp_path / "x")[0], samples)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no NIST SPHERE file"),
        (b"RIFF" + bytes(2000), "is no NIST SPHERE file"),
        (b"NIST_1A\n   none\n" + bytes(2000), "is no NIST SPHERE file"),
        (b"NIST_1A\n   1024\nsample_count -i 4\n", "ends within its header"),
        (b"NIST_1A\n   1024\nsample_count -i x\nsample_rate -i 8000\nend_head\n" + bytes(2000), "no sample_count"),
        (b"NIST_1A\n   1024\nsample_count -i 1\nsample_rate -i 0\nend_head\n" + bytes(2000), "no sample_rate"),
        (b"NIST_1A\n   1024\nsample_rate -i 8000\nend_head\n" + bytes(2000), "states no sample_count"),
    ],
)
def test_a_damaged_header_is_told(tmp_path, data, message):
    (tmp_path / "x.wv1").write_bytes(data)
    with pytest.raises(DataError, match=message):
        decode(tmp_path / "x.wv1")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        decode(tmp_path / "none.wv1")
