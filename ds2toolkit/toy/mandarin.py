"""Sentences of a small Mandarin grammar of our own, in words of characters; a few have Latin letters."""

import re
import unicodedata

import numpy as np

WORDS = {
    "PERSON": "老师 医生 朋友 妈妈",
    "WHO": "我 你 他",
    "WHEN": "今天 明天 现在 晚上",
    "PLACE": "学校 公园 商店 北京",
    "DO": "买 看 找 画",
    "OBJECT": "苹果 报纸 手机 面包",
    "COLOUR": "红色 白色 黑色",
    "ANIMAL": "小猫 大狗 黄牛",
    "FEELING": "高兴 年轻 安静",
}
PATTERNS = (
    "WHEN WHO 的 PERSON 去 PLACE",
    "WHO 的 PERSON 想 DO OBJECT",
    "WHO 想 DO COLOUR 的 OBJECT",
    "WHEN PERSON 在 PLACE DO OBJECT",
    "ANIMAL WHEN 不 在 PLACE",
    "WHO 的 OBJECT WHEN 在 PLACE 吗",
    "WHO WHEN 喜欢 COLOUR 的 ANIMAL",
    "谁 WHEN DO 了 WHO 的 OBJECT",
    "PERSON WHEN 很 FEELING",
)
LETTER_PATTERNS = (  # spelled as in AISHELL-1, with full-width letters
    "WHO 的 PERSON WHEN 买 ｔ恤",
    "WHEN PERSON 去 PLACE 做 ｂ超",
    "WHEN WHO 和 PERSON 唱 ｋ歌",
    "PERSON WHEN 在 PLACE 看 ａ股",
)
SYLLABLES = """
老lao3 师shi1 医yi1 生sheng1 朋peng2 友you3 妈ma1 我wo3 你ni3 他ta1 的de5 今jin1 天tian1 明ming2 现xian4 在zai4 晚wan3
上shang4 学xue2 校xiao4 公gong1 园yuan2 商shang1 店dian4 北bei3 京jing1 买mai3 看kan4 找zhao3 画hua4 苹ping2 果guo3
报bao4 纸zhi3 手shou3 机ji1 面mian4 包bao1 红hong2 色se4 白bai2 黑hei1 小xiao3 猫mao1 大da4 狗gou3 黄huang2 牛niu2
高gao1 兴xing4 年nian2 轻qing1 安an1 静jing4 去qu4 想xiang3 不bu4 吗ma5 喜xi3 欢huan1 谁shei2 了le5 很hen3 恤xu4
做zuo4 超chao1 和he2 唱chang4 歌ge1 股gu3 ｔti4 ｂbi4 ｋkei4 ａei1
"""
PINYIN = {syllable[0]: syllable[1:] for syllable in SYLLABLES.split()}
INITIAL = re.compile("^([zcs]h|[bpmfdtnlgkhjqxrzcsyw])")


def sentence(rng: np.random.Generator) -> str:
    """Two clauses, 14 to 20 characters, one space between words, every pattern equally likely.

    Two, so that sentences can't be learned by heart: single clauses are too few.
    """
    return f"{_fill(PATTERNS, rng)} {_fill(PATTERNS, rng)}"


def sentence_with_letter(rng: np.random.Generator) -> str:
    """Two clauses, 16 to 20 characters, one of them a full-width Latin letter."""
    return f"{_fill(LETTER_PATTERNS, rng)} {_fill(PATTERNS, rng)}"


def _fill(patterns: tuple[str, ...], rng: np.random.Generator) -> str:
    slots = patterns[rng.integers(len(patterns))].split()
    return " ".join(str(rng.choice(WORDS[slot].split())) if slot in WORDS else slot for slot in slots)


def spoken(words: str) -> str:
    """A sentence as espeak-ng has to be given it: it can't name full-width letters."""
    return unicodedata.normalize("NFKC", words)


def pinyin(words: str) -> list[str]:
    """The syllable of each character with its tone, 1 to 5, as in `lao3`."""
    return [PINYIN[character] for character in words.replace(" ", "")]


def phones(words: str) -> list[str]:
    """Initial and final of each syllable, as in `l ao3`; a syllable may have no initial."""
    halves = (INITIAL.sub(r"\1 ", syllable, count=1) for syllable in pinyin(words))
    return " ".join(halves).split()


def vocabulary() -> set[str]:
    """Every word that a sentence can have."""
    fixed = {word for pattern in PATTERNS + LETTER_PATTERNS for word in pattern.split() if word not in WORDS}
    return fixed.union(*(words.split() for words in WORDS.values()))
