"""Models side by side: rows, differences, words, refusals, what stands beside, and how fast it is."""

import json
import random
import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ds2toolkit import cli
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.score import experiment, hypotheses, origin, scored, tables
from ds2toolkit.score.compare import BETTER, SAME, WORSE, against_noise, compare
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.score.plot import draw
from ds2toolkit.score.ratios import noisier, snr_db, without_snr
from ds2toolkit.score.report import score

WORDS = [f"w{number}" for number in range(50)]
CONDITIONS = ("clean", "20 dB", "5 dB")


def references(num=120, num_speakers=12, name="test", conditions=CONDITIONS):
    rng = random.Random(0)
    return [
        Hypothesis(
            id=f"utt{i:03d}",
            set=name,
            condition=conditions[i // 12 % len(conditions)],
            speaker=f"s{i % num_speakers}" if num_speakers else "unknown",
            ref=(text := " ".join(rng.choices(WORDS, k=rng.randint(4, 12)))),
            hyp=text,
            duration_s=2.0,
            gender=("female", "male")[i % num_speakers % 2] if num_speakers else None,
        )
        for i in range(num)
    ]


def heard(refs, rate, seed, where=None):
    """The same utterances with words wrong at a rate: of all of them, or of one condition."""
    rng = random.Random(seed)

    def wrong(one):
        if where not in (None, one.condition):
            return one
        return replace(one, hyp=" ".join("x" if rng.random() < rate else word for word in one.ref.split()))

    return [wrong(one) for one in refs]


def experiment_of(folder, hyps, recipe="an4", model=None, unit="word", variant=None, **methods):
    """An experiment folder as `ds2 score` leaves it. methods: more hypotheses, by method."""
    files = {}
    for method, these in {"greedy": hyps, **methods}.items():
        for name in dict.fromkeys(one.set for one in these):
            path = folder / "decode" / method / f"hyps-{name}.jsonl"
            hypotheses.write(path, [one for one in these if one.set == name])
            files.setdefault(method, {})[name] = path
    known = {"recipe": recipe, "variant": variant, "model": model or f"{recipe}-{folder.name}", "command": "ds2 score"}
    score(files, folder / "score", unit, origin.origin(folder / "decode", **known))
    return folder


def compared(*folders, by="condition", methods=None):
    loaded = [experiment.load(folder / "score") for folder in folders]
    return compare(experiment.models(loaded, methods), by)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Model b is much better on 5 dB, much worse on clean, and as good on 20 dB."""
    root, refs = tmp_path_factory.mktemp("two"), references(360)
    a = [*heard([one for one in refs if one.condition == "5 dB"], 0.5, 1)]
    a += heard([one for one in refs if one.condition == "clean"], 0.05, 2)
    b = heard([one for one in refs if one.condition == "5 dB"], 0.2, 3)
    b += heard([one for one in refs if one.condition == "clean"], 0.3, 4)
    middle = heard([one for one in refs if one.condition == "20 dB"], 0.2, 5)
    return [experiment_of(root / name, [*hyps, *middle]) for name, hyps in (("a", a), ("b", b))]


def test_rows_words_and_differences(two):
    found = compared(*two)
    assert [model.label for model in found.models] == ["an4-a", "an4-b"]
    assert [(row.part, row.num_utterances, row.over) for row in found.rows] == [
        ("all", 360, "speakers"),
        ("clean", 120, "speakers"),
        ("20 dB", 120, "speakers"),
        ("5 dB", 120, "speakers"),
    ]
    words = {row.part: row.cells[1].difference.word for row in found.rows}
    assert (words["clean"], words["20 dB"], words["5 dB"]) == (WORSE, SAME, BETTER)
    for row in found.rows:
        first, second = row.cells
        assert first.difference is None
        assert second.difference.estimate.value == pytest.approx(second.counts.rate - first.counts.rate)
        assert first.rate.low < first.counts.rate < first.rate.high
    same = found.rows[2].cells[1].difference
    assert (same.estimate.value, same.estimate.p, same.p_holm) == (0.0, 1.0, 1.0)
    assert found.num_tests == 4


def test_the_same_rate_and_interval_as_score_says(two):
    said = json.loads((two[0] / "score" / "score.json").read_text(encoding="utf-8"))["scores"]
    for row in compared(*two).rows:
        (one,) = [one for one in said if one["condition"] == row.part]
        rate = row.cells[0].rate
        assert one["wer_percent"] == pytest.approx(100 * rate.value)
        assert one["wer_interval_percent"] == pytest.approx([100 * rate.low, 100 * rate.high])


def test_p_values_are_corrected_for_all_of_the_table(two):
    found = [row.cells[1].difference for row in compared(*two).rows]
    smallest = min(one.estimate.p for one in found)
    assert [one.p_holm for one in found if one.estimate.p == smallest][0] == pytest.approx(smallest * len(found))
    (alone,) = [row.cells[1].difference for row in compared(*two, by="set").rows]
    assert alone.p_holm == alone.estimate.p


@pytest.mark.parametrize(
    ("by", "parts"),
    [("set", ["all"]), ("gender", ["all", "female", "male"]), ("speaker", ["all", *(f"s{number}" for number in range(12))])],
)
def test_by_what_is_asked(two, by, parts):
    found = compared(*two, by=by)
    assert [row.part for row in found.rows] == parts
    if by == "speaker":
        assert {row.over for row in found.rows[1:]} == {"utterances"}


def test_several_methods_are_columns(tmp_path):
    refs = references()
    folder = experiment_of(tmp_path / "a", heard(refs, 0.3, 1), k2=heard(refs, 0.1, 2))
    found = compared(folder, methods=["greedy", "k2"])
    assert [model.label for model in found.models] == ["an4-a greedy", "an4-a k2"]
    assert found.rows[0].cells[1].difference.word == BETTER
    with pytest.raises(UserError, match=r"no scores of the method 'kaldi'; it has: greedy, k2"):
        compared(folder, methods=["kaldi"])


def test_one_model_across_recipes_is_one_column_and_blanks_stay_blank(tmp_path):
    refs, news = references(), references(name="eval92", conditions=("all",))
    own = experiment_of(tmp_path / "ds2", heard(refs, 0.1, 1))
    elsewhere = experiment_of(tmp_path / "wsj", heard(news, 0.1, 2), recipe="wsj", model="an4-ds2")
    other = experiment_of(tmp_path / "other", heard(refs, 0.2, 3))
    found = compared(own, elsewhere, other)
    assert [model.label for model in found.models] == ["an4-ds2", "an4-other"]
    assert [row.name for row in found.rows if row.part == "all"] == ["an4 test", "wsj eval92"]
    assert found.rows[-1].cells[1] is None
    assert [one.system for one in found.rows[-1].reported] == ["DS1", "DS2", "human"]
    text = tables.terminal(found).splitlines()
    assert next(line for line in text if "wsj eval92" in line).count("[") == 1  # no zero where nothing was tested


def test_two_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    refs = references()
    one, two = (experiment_of(tmp_path / place / "ds2", heard(refs, 0.1, 1)) for place in ("old", "new"))
    assert [model.label for model in compared(one, two).models] == [str(one), str(two)]


def test_what_others_report_stands_beside_the_same_set_only(tmp_path):
    whole = experiment_of(tmp_path / "a", heard(references(conditions=("f", "m")), 0.1, 1))
    assert [[one.value for one in row.reported] for row in compared(whole).rows] == [[9.573], [], []]
    noisy = experiment_of(tmp_path / "b", heard(references(), 0.1, 1))
    assert [(row.part, bool(row.reported)) for row in compared(noisy).rows][:2] == [("all", False), ("clean", True)]
    toy = experiment_of(tmp_path / "c", heard(references(conditions=("f", "m")), 0.1, 1), variant="toy")
    assert not compared(toy).systems


def test_one_utterance_and_no_error_have_no_interval(tmp_path):
    refs = references(conditions=("many",))
    lone = [replace(refs[0], condition="lone", hyp="x"), *heard(refs[1:], 0.2, 1)]
    right = [replace(refs[0], condition="lone"), *refs[1:]]
    found = compared(experiment_of(tmp_path / "a", lone), experiment_of(tmp_path / "b", right))
    (row,) = [row for row in found.rows if row.part == "lone"]
    assert row.cells[0].rate.low is None and row.cells[1].rate.low is None and row.cells[1].difference.word == SAME
    assert found.rows[0].cells[1].rate.low is None and found.rows[0].cells[1].difference.word == BETTER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hyps: [replace(hyps[0], ref="w1 w2"), *hyps[1:]], "an4 test: not the same reference at utt000: an4-a has 'w.*an4-b has 'w1 w2'"),
        (lambda hyps: hyps[1:], "not the same utterance at utt000: an4-a has 'w.*', an4-b has none"),
        (lambda hyps: [*hyps, replace(hyps[0], id="utt999")], "not the same utterance at utt999: an4-a has none"),
        (lambda hyps: [replace(hyps[0], condition="bus"), *hyps[1:]], "not the same condition at utt000: an4-a has 'clean', an4-b has 'bus'"),
    ],
)
def test_other_utterances_are_refused_with_the_first_difference(tmp_path, change, message):
    refs = references()
    folders = experiment_of(tmp_path / "a", refs), experiment_of(tmp_path / "b", change(refs))
    with pytest.raises(UserError, match=message):
        compared(*folders)


def test_other_units_are_refused(tmp_path):
    refs = references()
    folders = experiment_of(tmp_path / "a", refs), experiment_of(tmp_path / "b", refs, unit="character")
    with pytest.raises(UserError, match=r"a counts words, .*b characters"):
        compared(*folders)


def test_no_genders_to_part_by(tmp_path):
    folder = experiment_of(tmp_path / "a", references(num_speakers=0))
    with pytest.raises(UserError, match="no genders .* decode again"):
        compared(folder, by="gender")


def test_files_of_an_older_version_and_damaged_ones_are_told(tmp_path, two):
    (tmp_path / "score").mkdir()
    path = tmp_path / "score" / "score.json"
    for text, message in (
        ('{"unit": "word", "scores": []}', "older version"),
        ('{"unit": "word"', "damaged"),
        ("[]", "damaged"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            experiment.load(tmp_path / "score")
    lines = scored.file_of(two[0] / "score", "test", "greedy").read_bytes()
    for bad in (lines[:-9], b"", b"{}", lines.replace(b'"wer"', b'"xer"', 1)):
        (tmp_path / "bad.jsonl").write_bytes(bad)
        with pytest.raises(DataError, match="bad.jsonl is damaged.*score this experiment again"):
            scored.read(tmp_path / "bad.jsonl")


def test_utterances_come_back_from_disk(tmp_path):
    odd = replace(references(3)[0], ref="a\u2028b 'c' \"d\"", hyp="a\x85b", audio="/a b/ü.flac", audio_start_s=1.5, score=-2.0)
    written = scored.score([odd, *references(3)[1:]], ["word", "character"])
    scored.write(tmp_path / "u.jsonl", written)
    again = scored.read(tmp_path / "u.jsonl")
    assert again.hyps == written.hyps
    assert all((again.counts[unit] == written.counts[unit]).all() for unit in ("word", "character"))


@pytest.mark.parametrize(
    ("name", "ratio", "rest"),
    [
        ("10 dB", 10, ""), ("test-10dB", 10, "test"), ("test_0dB", 0, "test"), ("-5 dB", -5, ""), ("snr=-5", -5, ""),
        ("SNR20", 20, ""), ("2.5 dB", 2.5, ""), ("clean", None, "clean"), ("et05_real", None, "et05_real"),
    ],
)  # fmt: skip
def test_ratios_in_names(name, ratio, rest):
    assert (snr_db(name), without_snr(name)) == (ratio, rest)


def test_test_sets_of_one_name_go_from_clean_to_noisiest():
    names = ["eval", "test-0dB", "test", "test-10dB", "dev-5dB", "test-other"]
    assert sorted(names, key=noisier) == ["dev-5dB", "eval", "test", "test-10dB", "test-0dB", "test-other"]


def test_against_noise_of_conditions_and_of_sets(two, tmp_path):
    (name, rows), = against_noise(compared(*two).rows).items()
    assert (name, [row.part for row in rows]) == ("an4 test", ["5 dB", "20 dB", "clean"])
    sets = [one for name in ("test", "test-5dB", "test-20dB") for one in heard(references(name=name, conditions=("all",)), 0.1, 1)]
    (name, rows), = against_noise(compared(experiment_of(tmp_path / "a", sets)).rows).items()
    assert (name, [row.set for row in rows]) == ("an4 test", ["test-5dB", "test-20dB", "test"])


def test_a_measured_figure_tells_where_it_comes_from(tmp_path):
    decode = tmp_path / "librispeech-ds2" / "decode"
    origin.write_model(decode, "librispeech-ds2", {"seed": 3, "num_epochs": 9}, 1_110_000)
    folder = experiment_of(tmp_path / "librispeech-ds2", references(), recipe="wsj", model="guessed")
    found = json.loads((folder / "score" / "score.json").read_text(encoding="utf-8"))["origin"]
    assert (found["recipe"], found["model"], found["seed"], found["training"]["num_epochs"]) == ("wsj", "librispeech-ds2", 3, 9)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["date"])
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert found["commit"] is None if head.returncode else head.stdout.startswith(found["commit"].removesuffix("-dirty"))
    assert "commit" in tables.measured(found) and ", seed 3: ds2 score" in tables.measured(found)
    assert "seed not recorded" in tables.measured({key: value for key, value in found.items() if key != "seed"})


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "ds2toolkit", *map(str, arguments)], capture_output=True, text=True)


def test_the_verb_prints_the_table_and_writes_markdown(two, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ds2", "compare", *map(str, two), "--markdown", str(tmp_path / "out.md")])
    cli.main()
    printed = capsys.readouterr().out
    assert printed.startswith("WER in percent [95% interval], greedy\n")
    assert "corrected for 4 comparisons (Holm)" in printed and "bootstrap over speakers" in printed
    assert "an4-a on an4: measured 20" in printed and "deepspeech.pytorch V3: reported by github.com" in printed
    rows = [line.split("|")[1:-1] for line in (tmp_path / "out.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert {len(row) for row in rows} == {9} and [row[1].strip() for row in rows[2:]] == ["all", "clean", "20 dB", "5 dB"]
    assert rows[3][7].strip() == "worse" and rows[5][7].strip() == "better"


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plots(two, tmp_path, ending):
    pytest.importorskip("matplotlib")
    draw(compared(*two), tmp_path / f"out.{ending}")
    head = (tmp_path / f"out.{ending}").read_bytes()[:100]
    assert head.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    with pytest.raises(UserError, match="out.gif: expected a name that ends in"):
        draw(compared(*two), tmp_path / "out.gif")


def test_an_unknown_experiment_names_what_to_run(two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("compare", two[0], "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["ds2: nowhere has no score/score.json.", "     Experiments with scores here: none"]
    recipe = tmp_path / "mine"
    experiment_of(recipe / "exp" / "ds2", references())
    (recipe / "recipe.yaml").write_text("title: mine\n", encoding="utf-8")
    (recipe / "toy/exp/new").mkdir(parents=True)
    (recipe / "exp/old/decode/greedy").mkdir(parents=True)
    (recipe / "exp/old/decode/greedy/hyps-test.jsonl").touch()
    assert "Experiments with scores here: mine/exp/ds2" in run("compare", "nowhere").stderr
    assert "Run: ds2 train --recipe mine --variant toy --exp new" in run("compare", "mine/toy/exp/new").stderr
    assert "Run: ds2 score --recipe mine --exp old" in run("compare", "mine/exp/old").stderr
    assert "is named twice" in run("compare", two[0], two[0] / "score").stderr


def test_ten_thousand_utterances_of_two_models_in_2_seconds_without_torch(tmp_path):
    refs = references(10_000, num_speakers=0, conditions=("a", "b", "c", "d"))
    two = [experiment_of(tmp_path / f"exp{number}", heard(refs, 0.1 + number / 50, number)) for number in range(2)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import sys; from ds2toolkit import cli; cli.main()\n"
        "assert not {'torch', 'lhotse', 'matplotlib', 'jinja2', 'scipy'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code, "compare", *map(str, two)], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("worse") >= 5
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0  # of a processor: others may be busy
