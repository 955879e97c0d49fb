"""Scoring: error counts against a second implementation, files in icefall's form, refusals."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.score import hypotheses
from ds2toolkit.score.align import NOTHING, ErrorCounts, align, count_errors, count_pairs, split_units
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.score.report import format_table, score

WORDS = st.lists(st.sampled_from(["a", "b", "c", "*"]), max_size=9)


def edit_distance(ref, hyp):
    """The plain dynamic programme, to compare with."""
    costs = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, start=1):
        last, costs[0] = costs[0], i
        for j, h in enumerate(hyp, start=1):
            last, costs[j] = costs[j], min(last + (r != h), costs[j] + 1, costs[j - 1] + 1)
    return costs[-1]


def hypothesis(key, ref, hyp, condition="quiet", **rest):
    return Hypothesis(id=key, set="test", condition=condition, speaker="s", ref=ref, hyp=hyp, duration_s=1.5, **rest)


HYPS = [
    hypothesis("u1", "a b c d", "a x c", "quiet"),
    hypothesis("u2", "a b", "a b", "noisy"),
    hypothesis("u3", "b", "", "noisy"),
    hypothesis("u0", "", "a", "noisy"),
]


def write(folder, method, hyps, name="test"):
    path = folder / method / f"hyps-{name}.jsonl"
    hypotheses.write(path, hyps)
    return {name: path}


@given(WORDS, WORDS)
def test_counts_agree_with_the_plain_edit_distance(ref, hyp):
    counts = count_errors(" ".join(ref), " ".join(hyp), "word")
    assert counts.errors == edit_distance(ref, hyp)
    assert counts.ref == len(ref) == counts.cor + counts.sub + counts.dele
    assert len(hyp) == counts.cor + counts.sub + counts.ins


@given(WORDS, WORDS)
def test_alignment_spells_out_both_sides(ref, hyp):
    pairs = align(ref, hyp)
    assert [r for r, _ in pairs if r != NOTHING] == ref
    assert [h for _, h in pairs if h != NOTHING] == hyp


@given(WORDS, WORDS, WORDS, WORDS)
def test_counts_add(ref1, hyp1, ref2, hyp2):
    one, two = count_pairs(align(ref1, hyp1)), count_pairs(align(ref2, hyp2))
    both = one + two
    assert (both.ref, both.errors) == (one.ref + two.ref, one.errors + two.errors)
    assert sum([one, two], ErrorCounts()) == both


def test_units_leave_out_spaces():
    assert split_units(" the  cat ", "word") == ["the", "cat"]
    assert split_units("你 好", "character") == ["你", "好"]
    assert count_errors("the cat", "thecat", "character").errors == 0


def test_rate_without_a_reference():
    assert ErrorCounts().rate == 0.0
    assert ErrorCounts(ins=1).rate == math.inf
    assert count_errors("", "", "word") == ErrorCounts()


@settings(max_examples=30)
@given(text=st.text(), score=st.sampled_from([None, 0.0, -12.25, math.inf, -math.inf, math.nan]))
def test_hypotheses_come_back_from_disk(tmp_path_factory, text, score):
    path = tmp_path_factory.mktemp("hyps") / "hyps.jsonl"
    text = text.encode("utf-8", "replace").decode()
    hypotheses.write(path, [hypothesis("u1", text, text, score=score), hypothesis("u2", "a", text)])
    first, second = hypotheses.read(path)
    assert (first.ref, first.hyp, second.hyp) == (text, text, text)
    assert first.score == (score if score is not None and math.isfinite(score) else None)


@pytest.mark.parametrize(
    "damage",
    ['{"id": "u2", "set": "te', "", "[1]", '{"id": "u2"}', "\xff", '{"id": "u2", "unknown": 1}'],
)
def test_damaged_line_is_told_with_its_number(tmp_path, damage):
    path = write(tmp_path, "greedy", HYPS[:1])["test"]
    path.write_bytes(path.read_bytes() + damage.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"hyps-test.jsonl:2: "):
        hypotheses.read(path)


@pytest.mark.parametrize(("key", "value"), [("ref", None), ("duration_s", "1"), ("score", True), ("id", 3)])
def test_wrong_type_is_told(tmp_path, key, value):
    path = write(tmp_path, "greedy", HYPS[:1])["test"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}), encoding="utf-8")
    with pytest.raises(DataError, match=f":1: {key} is"):
        hypotheses.read(path)


def test_whole_numbers_pass_for_seconds(tmp_path):
    path = write(tmp_path, "greedy", HYPS[:1])["test"]
    path.write_text(path.read_text().replace("1.5", "1"), encoding="utf-8")
    assert hypotheses.read(path)[0].duration_s == 1


def test_duplicated_id_and_missing_file(tmp_path):
    path = write(tmp_path, "greedy", [HYPS[0], HYPS[1], HYPS[0]])["test"]
    with pytest.raises(DataError, match=r":3: utterance 'u1' stands on line 1"):
        hypotheses.read(path)
    with pytest.raises(DataError, match="ds2 decode"):
        hypotheses.read(tmp_path / "none.jsonl")


def test_score_files_in_icefalls_form(tmp_path):
    files = {"greedy": write(tmp_path, "greedy", HYPS), "k2": write(tmp_path, "k2", [perfect(one) for one in HYPS])}
    score(files, tmp_path / "score", "word")
    assert sorted(path.name for path in (tmp_path / "score").iterdir()) == [
        "errs-test-greedy.txt",
        "errs-test-k2.txt",
        "recogs-test-greedy.txt",
        "recogs-test-k2.txt",
        "score.json",
        "utterances-test-greedy.jsonl",
        "utterances-test-k2.jsonl",
        "wer-summary-test.txt",
    ]
    read = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "score").iterdir()}
    assert read["wer-summary-test.txt"] == "settings\tWER\nk2\t0.00\ngreedy\t57.14\n"
    assert read["recogs-test-greedy.txt"].startswith(
        "u0:\tref=[]\nu0:\thyp=['a']\nu1:\tref=['a', 'b', 'c', 'd']\nu1:\thyp=['a', 'x', 'c']\n"
    )
    assert read["errs-test-greedy.txt"] == (
        "%WER = 57.14\n"
        "Errors: 1 insertions, 2 deletions, 1 substitutions, over 7 reference words (4 correct)\n"
        "Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, DELETIONS:, INSERTIONS:, "
        "PER-WORD STATS:\n\n"
        "PER-UTT DETAILS: corr or (ref->hyp)\n"
        "u0:\t(*->a)\nu1:\ta (b->x) c (d->*)\nu2:\ta b\nu3:\t(b->*)\n\n"
        "SUBSTITUTIONS: count ref -> hyp\n1   b -> x\n\n"
        "DELETIONS: count ref\n1   d\n1   b\n\n"
        "INSERTIONS: count hyp\n1   a\n\n"
        "PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp\n"
        "b   1 2 3 1\nx   0 1 0 1\nd   0 1 1 0\na   2 1 2 3\nc   1 0 1 1\n"
    )


def perfect(one):
    return hypothesis(one.id, one.ref, one.ref, one.condition)


def test_score_json_by_condition(tmp_path):
    score({"greedy": write(tmp_path, "greedy", HYPS)}, tmp_path, "word")
    found = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    assert found["unit"] == "word"
    sizes = [(one["condition"], one["num_utterances"]) for one in found["scores"]]
    assert sizes == [("all", 4), ("noisy", 3), ("quiet", 1)]
    total, noisy, quiet = found["scores"]
    assert noisy["wer_counts"] == {"ref": 3, "cor": 2, "sub": 0, "ins": 1, "dele": 1}
    assert quiet["wer_percent"] == 50.0 and quiet["wer_interval_percent"] is None  # of one utterance
    low, high = total["wer_interval_percent"]
    assert low < total["wer_percent"] < high
    assert total["cer_counts"]["ref"] == 7


def test_score_without_any_reference_is_still_json(tmp_path):
    table = score({"greedy": write(tmp_path, "greedy", [HYPS[3]])}, tmp_path, "word")
    strict = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert strict["scores"][0]["wer_percent"] is None
    assert format_table(table).split()[-1] == "inf"


def test_mandarin_is_scored_in_characters(tmp_path):
    hyps = [hypothesis("u1", "今天 天气", "今天天七"), hypothesis("u2", "好", "好")]
    table = score({"greedy": write(tmp_path, "greedy", hyps)}, tmp_path, "character")
    assert table.scores[0].rates["character"].counts == ErrorCounts(ref=5, cor=4, sub=1)
    assert "%WER = 20.00" in (tmp_path / "errs-test-greedy.txt").read_text(encoding="utf-8")
    text = format_table(table)
    assert text.startswith("CER") and "WER" not in text
    assert "20.00" in text


def test_table_has_a_row_a_condition_and_a_column_a_method(tmp_path):
    other = [Hypothesis(**(vars(one) | {"set": "other", "condition": "bus"})) for one in HYPS]
    greedy = write(tmp_path, "greedy", HYPS) | write(tmp_path, "greedy", other, "other")
    table = score({"greedy": greedy, "k2": write(tmp_path, "k2", [perfect(one) for one in HYPS])}, tmp_path, "word")
    wer, cer = format_table(table).split("\n\n")
    assert wer.startswith("WER") and cer.startswith("CER")
    rows = [line.split() for line in wer.splitlines()[1:]]
    assert rows[0] == ["set", "condition", "utterances", "greedy", "k2"]
    assert [row[:3] for row in rows[2:]] == [
        ["test", "all", "4"],
        ["test", "noisy", "3"],
        ["test", "quiet", "1"],
        ["other", "all", "4"],
        ["other", "bus", "4"],
    ]
    assert rows[2][3] == "57.14" and rows[2][-1] == "0.00"
    assert rows[5][-1] == "–"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hyps: hyps[1:], "utterance u1: greedy has .* k2 has nothing"),
        (lambda hyps: [*hyps, hypothesis("u9", "a", "a")], "utterance u9: greedy has nothing"),
        (lambda hyps: [hypothesis("u1", "a b c", "a"), *hyps[1:]], "utterance u1: .*a b c d.*'a b c'"),
        (lambda hyps: [hypothesis("u1", "a b c d", "a", "bus"), *hyps[1:]], "utterance u1: .*bus"),
    ],
)
def test_methods_must_have_decoded_the_same(tmp_path, change, message):
    files = {"greedy": write(tmp_path, "greedy", HYPS), "k2": write(tmp_path, "k2", change(HYPS))}
    with pytest.raises(UserError, match=message):
        score(files, tmp_path, "word")
    assert not (tmp_path / "score.json").exists()


def test_empty_file_and_wrong_set_are_refused(tmp_path):
    with pytest.raises(DataError, match="no hypotheses"):
        score({"greedy": write(tmp_path, "greedy", [])}, tmp_path, "word")
    path = write(tmp_path, "greedy", HYPS)["test"]
    with pytest.raises(DataError, match="set 'test', not 'dev'"):
        score({"greedy": {"dev": path}}, tmp_path, "word")
