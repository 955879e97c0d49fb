"""English as speakers of Hindi, German, French and Spanish say it: its phonemes in the sounds of their own.

Phonemes are espeak-ng's mnemonics. The habits are the well-known ones (Wells, Accents of English).
"""

import re
from collections.abc import Iterable

# American English in fewer phonemes: what only varies with its neighbours, and the vowels coloured by an r
BROAD = (
    "I2=I I#=I I2#=I t#=t t2=t d#=d ?=t 0#=0 02=0 O2=0 aa=a a2=a E#=E E2=E @2=@ @-=@ @5=@ a#=@ @#=@ oU#=oU "
    "r-=r ;= -= @L=@+l n-=@+n m-=@+m l-=@+l 3=@+r 3:=3:+r A@=A:+r O@=O:+r o@=O:+r e@=E+r i@3=i:+r i@=i:+r "
    "U@=u:+r aI3=aI+@+r aI@=aI+@+r aU@=aU+@+r IR=i:+r VR=3:+r"
)
HABITS = {
    "indian": "t=t. d=d. T=t D=d w=v# v=v# Z=z a=E eI=e: oU=o: A:=a: 0=O 3:=V @=V OI=O+I i=i:",
    "german": "T=s D=z w=v dZ=tS Z=S a=E V=a 0=O O:=O 3:=W eI=e: oU=o: OI=OY i=i:",
    "french": (
        "T=s D=z h= tS=S dZ=Z I=i i:=i A:=a 0=O O:=O V=W @=W 3:=W U=u u:=u eI=e oU=o aI=a+j aU=a+u OI=O+j"
    ),
    "spanish": (
        "D=d T=t z=s v=b S=tS Z=tS dZ=tS h=x w=g+w N=n "
        "I=i i:=i E=e A:=a 0=o O:=o V=a @=e 3:=e U=u u:=u oU=o OI=oI"
    ),
}
DEVOICED = {"b": "p", "d": "t", "g": "k", "z": "s", "v": "f"}  # at the end of a German word
STRESS = "',%=\""


def respell(phonemes: str, accent: str) -> str:
    """English phonemes, "_" between them, spaces between words, as text for espeak-ng to read as phonemes."""
    words = (sounds(word.split("_"), accent) for word in phonemes.split())
    return " ".join(f"[[{'|'.join(word)}]]" for word in words if word)


def sounds(word: Iterable[str], accent: str) -> list[str]:
    """The phonemes of an English word as the accent has them, each with its stress mark before it."""
    broad = [part for phoneme in word for part in _replaced(phoneme, _table(BROAD))]
    heard = [part for phoneme in broad for part in _replaced(phoneme, _table(HABITS[accent]))]
    if accent == "german" and heard:
        heard[-1] = DEVOICED.get(heard[-1], heard[-1])
    if accent == "spanish" and re.match("s[ptkmnlf]", "".join(heard)):
        heard.insert(0, "e")
    return heard


def _table(spelled: str) -> dict[str, list[str]]:
    pairs = (pair.partition("=") for pair in spelled.split())
    return {old: [part for part in new.split("+") if part] for old, _, new in pairs}


def _replaced(phoneme: str, table: dict[str, list[str]]) -> list[str]:
    """Stress goes to the first of what a vowel becomes."""
    bare = phoneme.lstrip(STRESS)
    parts = table.get(bare, [bare])
    return [phoneme[: len(phoneme) - len(bare)] + parts[0], *parts[1:]] if parts else []
