"""`ds2 align`: when each word and character of the transcripts is said, by forced alignment with a trained network."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ds2toolkit import checkpoint
from ds2toolkit.checkpoint import Recogniser
from ds2toolkit.data.batch import Utterances
from ds2toolkit.decode.align import align, characters, words
from ds2toolkit.decode.emissions import emissions
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import write_text
from ds2toolkit.recipe import Recipe, shown
from ds2toolkit.verbs.decode import best, check_language, split_cuts


def run(recipe: Recipe, exp: str | None, model: Path | None, splits: list[str] | None) -> None:
    folder = recipe.experiment(exp, model)
    recogniser, _ = checkpoint.load(best(model) if model else recipe.need(folder / "best.pt", "train", "align"))
    check_language(recipe, recogniser)
    if unknown := sorted(set(splits or ()) - set(recipe.config.splits)):
        raise UserError(f"the recipe {recipe.name} has no split {unknown[0]}, only {', '.join(recipe.config.splits)}")
    for split in splits or recipe.config.splits.dev:
        align_split(recipe, recogniser, split, folder / "align" / f"{split}.jsonl")


def align_split(recipe: Recipe, recogniser: Recogniser, split: str, path: Path) -> None:
    """Write a JSON line an utterance, with the log-probability of the alignment; say what could not be aligned."""
    cuts = split_cuts(recipe, recogniser, split)
    texts = {cut.id: cut.supervisions[0].text for cut in cuts}
    utterances = Utterances(cuts, None, recogniser.features, recogniser.stats)
    lines, failed = {}, []
    for name, log_probs_SV in emissions(recogniser, utterances, f"network on {split}"):
        try:
            lines[name] = {"id": name, "text": texts[name]} | times(recogniser, log_probs_SV, texts[name])
        except DataError as error:
            failed.append(f"{name}: {error}")
    write_text(path, "".join(json.dumps(lines[name], ensure_ascii=False) + "\n" for name in texts if name in lines))
    print(f"{split}: {len(lines):,d} utterances aligned, in {shown(path)}")
    if failed:
        print(f"{split}: {len(failed):,d} could not be aligned; {failed[0]}")


def times(recogniser: Recogniser, log_probs_SV: np.ndarray, text: str) -> dict:
    """Characters that the network does not write are left out."""
    vocabulary = recogniser.vocabulary
    targets = vocabulary.encode_known(text)
    alignment = align(log_probs_SV, targets)
    frame_s = recogniser.features.shift_s * recogniser.model.time_stride
    timed = characters(alignment, [vocabulary.spellings[target] for target in targets], frame_s)
    spoken = [asdict(one) for one in timed if one.text != " "]
    said = [asdict(one) for one in words(timed)] if recogniser.unit == "word" else spoken
    return {"log_prob": round(alignment.score, 3), "words": said, "characters": spoken}
