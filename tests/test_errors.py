"""`ds2 errors`: counts of confusions, the worst first, columns that line up, messages that name the next command."""

import pytest

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.score import frequent, hypotheses
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.score.report import score
from ds2toolkit.verbs.errors import run


def hypothesis(key, ref, hyp, speaker="ann", condition="quiet", name="test"):
    return Hypothesis(id=key, set=name, condition=condition, speaker=speaker, ref=ref, hyp=hyp, duration_s=1.5)


HYPS = [
    hypothesis("u1", "the cat sat", "the bat sat"),
    hypothesis("u2", "a cat", "a bat on", "bob", "noisy"),
    hypothesis("u3", "dog", "", "bob", "noisy"),
    hypothesis("u4", "well done", "well done", "cid", "noisy"),
]


def experiment(folder, hyps, unit="word", methods=("greedy",)):
    """An experiment folder of a recipe, decoded and scored."""
    folder.mkdir(parents=True)
    (folder.parent.parent / "recipe.yaml").write_text("title: a test\n", encoding="utf-8")
    files = {}
    for method in methods:
        for name in dict.fromkeys(one.set for one in hyps):
            path = folder / "decode" / method / f"hyps-{name}.jsonl"
            hypotheses.write(path, [one for one in hyps if one.set == name])
            files.setdefault(method, {})[name] = path
    score(files, folder / "score", unit)
    return folder


@pytest.fixture
def exp(tmp_path):
    return experiment(tmp_path / "egs" / "exp" / "ds2", HYPS)


def printed(capsys, *arguments):
    run(*arguments)
    return capsys.readouterr().out


def test_confusions_are_counted_most_frequent_first():
    found = frequent.errors(frequent.heard([*HYPS, hypothesis("u5", "mat", "hat")], "word"))
    assert found == {
        "substitutions": [(("cat", "bat"), 2), (("mat", "hat"), 1)],
        "deletions": [(("dog", ""), 1)],
        "insertions": [(("", "on"), 1)],
    }


def test_speakers_with_the_highest_rate_come_first():
    groups = frequent.groups(frequent.heard(HYPS, "word"), lambda one: one.speaker)
    assert [(one.name, one.num_utterances, one.counts.errors, one.counts.ref) for one in groups] == [
        ("bob", 2, 3, 3), ("ann", 1, 1, 3), ("cid", 1, 0, 2),
    ]  # fmt: skip


def test_the_worst_utterances_are_those_with_most_errors_and_never_one_without():
    assert [one.hypothesis.id for one in frequent.worst(frequent.heard(HYPS, "word"))] == ["u2", "u3", "u1"]


@pytest.mark.parametrize(
    ("pairs", "lines"),
    [
        ([("the", "the"), ("cat", "c"), ("", "on")], ("the cat **", "the c   on")),
        ([("你", "a"), ("好", "")], ("你 好", "a  **")),
        ([("", "")], ("", "")),
    ],
)
def test_aligned_units_stand_one_above_the_other(pairs, lines):
    assert frequent.in_columns(pairs) == lines


def test_the_whole_report_of_an_experiment(capsys, exp):
    text = printed(capsys, exp, None, None, 10)
    assert "4 errors in 8 words (50.00%) of 4 utterances: 2 substitutions, 1 deletions, 1 insertions" in text
    assert [line.split() for line in text.splitlines() if line.split()[:1] == ["2"]] == [["2", "cat", "bat"]]
    assert "worst conditions, 2 of 2" in text and "test, noisy" in text and "100.00" in text
    assert "u2 (test, noisy, speaker bob): 2 errors in 2\n  said   a cat **\n  heard  a bat on" in text


def test_top_bounds_every_table(capsys, exp):
    text = printed(capsys, exp, None, None, 1)
    assert "worst speakers, 1 of 3" in text and "ann" not in text and "u3" not in text


def test_characters_are_counted_where_they_are_the_unit(capsys, tmp_path):
    folder = experiment(tmp_path / "exp" / "ds2", [hypothesis("u1", "你好吗", "你号")], unit="character")
    text = printed(capsys, folder, None, None, 5)
    assert "2 errors in 3 characters" in text
    assert "worst speakers" not in text, "of one speaker nothing can be told"


def test_sets_and_methods_are_chosen(capsys, tmp_path):
    hyps = [*HYPS, hypothesis("u9", "far", "fur", name="other")]
    folder = experiment(tmp_path / "exp" / "ds2", hyps, methods=("greedy", "kaldi"))
    assert "kaldi, other: 1 errors in 1 words" in printed(capsys, folder, None, ["other"], 5)
    assert "greedy, other, test: 5 errors in 9 words" in printed(capsys, folder, "greedy", None, 5)


def test_what_is_missing_names_the_next_command(exp, tmp_path):
    with pytest.raises(UserError, match="for: test$"):
        run(exp, None, ["nowhere"], 5)
    with pytest.raises(UserError, match=r"has hypotheses of: greedy.\nRun: ds2 decode .* --exp ds2 --methods k2"):
        run(exp, "k2", None, 5)
    with pytest.raises(UserError, match="at least 1"):
        run(exp, None, None, 0)
    with pytest.raises(UserError, match=r"does not exist.*\nRun: ds2 score --recipe \S+ --exp other$"):
        run(exp.with_name("other"), None, None, 5)
    with pytest.raises(UserError, match=r"Run: ds2 score --recipe \S+egs --variant toy --exp ds2$"):
        run(exp.parent.parent / "toy" / "exp" / "ds2", None, None, 5)


def test_damaged_files_are_refused(exp):
    (exp / "score" / "score.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="damaged"):
        run(exp, None, None, 5)


def test_a_set_without_hypotheses_is_no_division_by_zero(exp):
    (exp / "decode" / "greedy" / "hyps-test.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="no hypotheses"):
        run(exp, None, None, 5)
