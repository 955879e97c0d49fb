"""What was said and by whom: .dot files wherever they lie, .lsn files for want of them, spkrinfo.txt."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ds2toolkit.data.corpus import read_lines
from ds2toolkit.text.dot import parse_dot

GENDERS = {"f": "female", "m": "male"}
KINDS = (".dot", ".lsn")
FROM_LSN = "texts taken from an .lsn file, there being none in a .dot file"
SWAPPED = "of these with the fifth and sixth letter of the id swapped there"


class Transcripts:
    """Finds the text of an utterance in the files named by the first six letters of its id."""

    def __init__(self, files: dict[str, tuple[Path, str]]) -> None:
        self.read: dict[Path, dict[str, str]] = {}
        self.places: dict[str, list[tuple[str, Path]]] = defaultdict(list)
        for name, (path, _) in sorted(files.items()):
            if name.endswith(KINDS):
                folder, _, last = name.rpartition("/")
                self.places[last].append((folder, path))

    def find(self, audio: str) -> tuple[str, tuple[str, ...]] | None:
        """The raw text of an audio file and what is odd about where it was found; None when there is none.

        A file beside the audio comes before those elsewhere: there are copies of test transcripts.
        """
        folder, _, last = audio.rpartition("/")
        name = last.partition(".")[0]
        for kind in KINDS:
            places = self.places.get(f"{name[:6]}00{kind}", [])
            for _, path in sorted(places, key=lambda place: place[0] != folder):
                texts = self.texts(path)
                if name in texts:
                    return texts[name], () if kind == ".dot" else (FROM_LSN,)
                if kind == ".lsn" and swapped(name) in texts:
                    return texts[swapped(name)], (FROM_LSN, SWAPPED)
        return None

    def texts(self, path: Path) -> dict[str, str]:
        """Raw texts by id in lower case; lines that are no transcripts are left out."""
        if path not in self.read:
            pairs = filter(None, map(parse_dot, read_lines(path)))
            self.read[path] = {name.lower(): raw for raw, name in pairs}
        return self.read[path]


def swapped(name: str) -> str:
    """The id that eval92's .lsn files give an utterance: 440c4001 for 440c0401."""
    return name[:4] + name[5] + name[4] + name[6:]


def read_genders(paths: Iterable[Path]) -> dict[str, str]:
    """Speaker -> female or male, of tables whose first two columns are speaker and sex."""
    genders = {}
    for path in paths:
        for line in read_lines(path):
            speaker, sex, *_ = [*line.lower().split(), "", ""]
            if sex in GENDERS and not line.startswith((";", "--")):
                genders[speaker] = GENDERS[sex]
    return genders
