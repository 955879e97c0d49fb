"""Checkpoints: whole files with a network, all that decoding with it needs, and the state of a run to go on from."""

import io
import os
import pickle
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ds2toolkit.config import FeatureConfig, TrainConfig, from_dict, to_dict
from ds2toolkit.data.features import FeatureStats, num_bins
from ds2toolkit.errors import DataError
from ds2toolkit.files import whole
from ds2toolkit.model.deepspeech2 import DeepSpeech2
from ds2toolkit.model.size import solved
from ds2toolkit.text.vocabulary import Vocabulary

FORMAT = 1


@dataclass(frozen=True)
class Recogniser:
    """A network with its vocabulary and its feature settings: from audio to log-probabilities."""

    model: DeepSpeech2
    vocabulary: Vocabulary
    features: FeatureConfig
    stats: FeatureStats | None
    training: TrainConfig
    language: str
    unit: str

    @staticmethod
    def new(
        training: TrainConfig,
        vocabulary: Vocabulary,
        features: FeatureConfig,
        stats: FeatureStats | None,
        language: str,
        unit: str,
    ) -> "Recogniser":
        """Fresh weights, drawn from the seed; a number of parameters that is asked for becomes a width here."""
        sizes = num_bins(features), len(vocabulary.tokens)
        training = replace(training, model=solved(training.model, *sizes))
        torch.manual_seed(training.seed)
        model = DeepSpeech2(training.model, *sizes)
        return Recogniser(model, vocabulary, features, stats, training, language, unit)

    def same_setting(self, other: "Recogniser") -> bool:
        """Whether all but the weights is the same; other training data shows in its mean and variance."""
        ours, theirs = ({**one.to_dict(), "model": None} for one in (self, other))
        return ours == theirs

    def to_dict(self) -> dict[str, Any]:
        return {
            "training": to_dict(self.training),
            "features": to_dict(self.features),
            "stats": self.stats and self.stats.to_dict(),
            **self.vocabulary.to_dict(),
            "language": self.language,
            "unit": self.unit,
            "model": self.model.state_dict(),
        }

    @staticmethod
    def from_dict(raw: dict[str, Any], where: str) -> "Recogniser":
        recogniser = Recogniser.new(
            training=from_dict(TrainConfig, raw["training"], where),
            vocabulary=Vocabulary.from_dict(raw, where),
            features=from_dict(FeatureConfig, raw["features"], where),
            stats=raw["stats"] and FeatureStats.from_dict(raw["stats"]),
            language=raw["language"],
            unit=raw["unit"],
        )
        recogniser.model.load_state_dict(raw["model"])
        return recogniser


def save(path: Path, recogniser: Recogniser, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; state: the run's plain values and tensors.

    By way of memory: torch reports a full disk as a bug of its own. Raises UserError when the disk is full.
    """
    raw = io.BytesIO()
    torch.save({"format": FORMAT, "recogniser": recogniser.to_dict(), "state": state}, raw)
    with whole(path) as part:
        part.write_bytes(raw.getbuffer())


def load(path: Path) -> tuple[Recogniser, dict[str, Any]]:
    """Read a checkpoint without unpickling code. Raises DataError when it is damaged or of another format.

    torch writes checksums and does not read them: a changed weight would go unnoticed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {damaged} is another")
        raw = torch.load(path, map_location="cpu", weights_only=True)
        if raw["format"] != FORMAT:
            raise DataError(f"{path} has checkpoint format {raw['format']}; this version reads {FORMAT}")
        return Recogniser.from_dict(raw["recogniser"], str(path)), raw["state"]
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or ["it is empty"])[0]
        raise DataError(f"{path} is not a whole checkpoint: {reason}") from None


def keep_previous(last: Path) -> None:
    """Before last.pt is written anew: it stays as previous.pt too, so that the disk has both, and never none."""
    if not last.exists():
        return
    previous = _previous(last)
    previous.unlink(missing_ok=True)
    try:
        os.link(last, previous)
    except OSError:  # a file system without links
        shutil.copyfile(last, previous)


def load_last(last: Path) -> tuple[Recogniser, dict[str, Any]] | None:
    """The last checkpoint, or the one before it where that is damaged, which then is the last; None without any.

    Raises DataError when there is none that is whole.
    """
    previous = _previous(last)
    if last.exists():
        try:
            return load(last)
        except DataError as error:
            if not previous.exists():
                raise
            print(f"{error}\nGoing on from {previous.name}, the one before it.")
    elif not previous.exists():
        return None
    found = load(previous)
    previous.replace(last)
    return found


def _previous(last: Path) -> Path:
    return last.with_name("previous.pt")
