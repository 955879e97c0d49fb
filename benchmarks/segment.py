"""`ds2 segment` on AN4 utterances joined into one recording: are boundaries found, are wrong texts dropped?

    python benchmarks/segment.py --model egs/an4/exp/ds2 --recipe egs/an4

40 utterances, 0.2 to 1 s of white noise, as loud as a quiet room, between them; a transcript that is right, one with other words in a fifth of
the utterances, one with a fifth of all words replaced. What is chosen for the filter is to be chosen with --split dev.
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet

from ds2toolkit.data import cuts as cut_files
from ds2toolkit.errors import UserError
from ds2toolkit.verbs import segment

NUM_UTTERANCES, SHARE_WRONG = 40, 0.2
NOISE = 0.002  # RMS about that of the recordings' own room


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("egs/an4/exp/ds2"))
    parser.add_argument("--recipe", type=Path, default=Path("egs/an4"))
    parser.add_argument("--split", default="test", help="whose utterances (default: test)")
    parser.add_argument("--seeds", type=int, default=3, help="how many recordings to make (default: 3)")
    options = parser.parse_args()
    cuts = list(cut_files.read(options.recipe / "data" / options.split / "cuts.jsonl.gz"))
    print("| recording | transcript | boundaries found (0.3 s) | worst, s | cuts outside pauses | good clips kept | bad clips kept | audio kept |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), cuts, options.model, seed)


def measure(folder: Path, cuts: list, model: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = [cuts[number] for number in rng.permutation(len(cuts))[:NUM_UTTERANCES]]
    pauses = join(folder / "joined.flac", chosen, rng)
    words = [(word, number) for number, cut in enumerate(chosen) for word in cut.supervisions[0].text.split()]
    in_some = set(rng.permutation(NUM_UTTERANCES)[: round(SHARE_WRONG * NUM_UTTERANCES)].tolist())
    anywhere = set(rng.permutation(len(words))[: round(SHARE_WRONG * len(words))].tolist())
    transcripts = {
        "right": set(),
        "a fifth of utterances wrong": {n for n, (_, utterance) in enumerate(words) if utterance in in_some},
        "a fifth of words wrong": anywhere,
    }
    far_s = boundaries(folder / "joined.flac", words, pauses, model)
    found = f"{sum(far < 0.3 for far in far_s)} of {len(far_s)} | {max(far_s):.2f}"
    for name, wrong in transcripts.items():
        print(f"| {seed} | {name} | {found if not wrong else ' | '} | {filtered(folder, words, wrong, pauses, model, rng)} |")


def join(path: Path, chosen: list, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Write the utterances with noise between them. Returns when each noise begins and ends."""
    parts, pauses, end = [], [], 0
    for cut in chosen:
        noise = NOISE * rng.standard_normal(int(rng.uniform(0.2, 1.0) * cut.sampling_rate))
        parts += [cut.load_audio()[0], noise.astype(np.float32)]
        start = end + len(parts[-2])
        end = start + len(noise)
        pauses.append((start / cut.sampling_rate, end / cut.sampling_rate))
    soundfile.write(path, np.concatenate(parts[:-1]), chosen[0].sampling_rate)
    return pauses[:-1]


def boundaries(path: Path, words: list, pauses: list[tuple[float, float]], model: Path) -> list[float]:
    """How far from each pause, in seconds, the middle of the gap is that the alignment has for it."""
    recogniser, _ = segment.load_model(model)
    transcript = segment.Transcript([word for word, _ in words], [])
    timed = segment.aligned_words(recogniser, segment.LongAudio(path), transcript).words
    first = [n for n in range(1, len(words)) if words[n][1] != words[n - 1][1]]
    middles = [(timed[n - 1].end_s + timed[n].start_s) / 2 for n in first]
    return [max(start_s - middle, middle - end_s, 0.0) for middle, (start_s, end_s) in zip(middles, pauses, strict=True)]


def filtered(folder: Path, words: list, wrong: set[int], pauses: list, model: Path, rng: np.random.Generator) -> str:
    """Cuts more than 0.3 s from every pause; clips whose text is right and others: how many are kept; of how much audio."""
    pool = sorted({word for word, _ in words})
    spoken = [word for word, _ in words]
    text = [pool[(pool.index(word) + rng.integers(1, len(pool))) % len(pool)] if n in wrong else word for n, word in enumerate(spoken)]
    (folder / "text.txt").write_text(" ".join(text), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            segment.run(folder / "joined.flac", folder / "text.txt", model, folder / "clips")
    except UserError as error:
        return f"{error} | | |"
    files = [path for name in (segment.KEPT, segment.DROPPED) if (path := folder / "clips" / name).exists()]
    cuts = sorted((cut for path in files for cut in CutSet.from_file(path)), key=lambda cut: cut.id)
    kept = {cut.id for cut in cuts if "dropped" not in cut.supervisions[0].custom}
    first, good, bad = 0, [], []
    for cut in cuts:
        behind = first + len(cut.supervisions[0].text.split())
        (bad if wrong & set(range(first, behind)) else good).append(cut.id in kept)
        first = behind
    audio_s = sum(cut.duration for cut in cuts)
    starts = [start_s for cut in cuts if (start_s := cut.supervisions[0].custom["from_start_s"])]
    outside = sum(all(not start_s - 0.3 < time_s < end_s + 0.3 for start_s, end_s in pauses) for time_s in starts)
    share = sum(cut.duration for cut in cuts if cut.id in kept) / audio_s
    return f"{outside} of {len(starts)} | {sum(good)} of {len(good)} | {sum(bad)} of {len(bad)} | {share:.0%} of {audio_s:.0f} s"


if __name__ == "__main__":
    main()
