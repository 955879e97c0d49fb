"""What is beside the audio of a toy submission: README and prompts, in every form that they have in VoxForge."""

from collections.abc import Mapping
from pathlib import Path

README = """\
User Name:{user}

Speaker Characteristics:

Gender: {gender}
Age Range: Adult
Language: EN
Pronunciation dialect: {dialect}

Recording Information:

Microphone make: n/a
Microphone type: Headset mic
Audio card make: unknown
Audio card type: unknown
Audio Recording Software: VoxForge Speech Submission Application
O/S:

File Info:

File type: wav
Sampling Rate: 48000
Sample rate format: 16
Number of channels: 1
"""
OLD_README = """\
User Name:\t{user};

Speaker Characteristics:

\tSex:\t[{lower_gender}];
\tAge Range:\tAdult;
\tLanguage:\tEN;
\tPronunication dialect:\t{dialect};

File Info:

\tFile type:\twav;
\tSampling Rate:\t48000;
"""
NEW_FIELDS = """\
Native Speaker: Yes
First language: English
Sub-dialect: Glasgow
Recording Location: Home
Background Noise: Yes
Noise Volume: Low
Noise Type: Computer Fan
License: CC0
"""
LICENSE = "Made by ds2toolkit; no rights are claimed in these recordings.\n"
GPL = "The real submissions have the text of the GNU General Public License here.\n"


def write(sitting, folder: Path, texts: Mapping[str, str]) -> None:
    """LICENSE and etc/ of a submission. sitting: a Sitting of toy_cast; texts: lower-case prompts by name."""
    etc = folder / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    write_text(folder / "LICENSE", LICENSE)
    write_text(etc / "GPL_license.txt", GPL)
    if sitting.quirk != "no readme":
        name = "readme" if "old readme" in sitting.quirk else "README"
        (etc / name).write_bytes(readme(sitting))
    if sitting.quirk == "no readme":
        write_text(folder / "prompts.txt", prompts(sitting, texts))
        return
    if sitting.quirk != "original prompts":
        encoding = "latin-1" if sitting.quirk == "latin-1" else "utf-8"
        (etc / "PROMPTS").write_bytes(prompts(sitting, texts).encode(encoding))
    originals = "".join(f"{name} {text.capitalize()}.\n" for name, text in texts.items())
    write_text(etc / "prompts-original", originals)


def readme(sitting) -> bytes:
    form = OLD_README if "old readme" in sitting.quirk else README
    form += NEW_FIELDS if sitting.quirk == "new application" else ""
    filled = form.format(
        user=sitting.user, gender=sitting.gender, lower_gender=sitting.gender.lower(), dialect=sitting.dialect
    )
    if sitting.quirk == "latin-1":
        return filled.replace("make: n/a", "make: Café").encode("latin-1")
    return filled.encode()


def prompts(sitting, texts: Mapping[str, str]) -> str:
    """Lines `FOLDER/mfc/a0001 TEXT`."""
    prefix = {"odd name": "08.03.29/mfc/", "no readme": "*/"}.get(sitting.quirk, f"{sitting.folder}/mfc/")
    return "".join(f"{prefix}{name} {prompt(sitting, text)}\n" for name, text in texts.items())


def prompt(sitting, text: str) -> str:
    if sitting.quirk == "odd name":
        return text.title()
    if sitting.quirk == "latin-1":
        return text.upper().replace("E", "É", 1)
    return text.upper()


def write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
