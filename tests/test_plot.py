"""`ds2 plot`: every curve of a real run is found, runs share a picture, what is missing is named."""

import json
import re

import numpy as np
import pytest
from test_train import make_run

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.train import runs
from ds2toolkit.train.runs import MAX_POINTS, PANELS, Curve
from ds2toolkit.verbs.plot import names, run

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tone_cuts):
    folder = tmp_path_factory.mktemp("runs") / "exp" / "ds2"
    make_run(folder, tone_cuts).run()
    return folder


def test_a_training_run_leaves_every_curve_that_is_drawn(trained):
    curves = runs.read(trained)
    assert {name for panel in PANELS for name in panel.curves} <= set(curves)
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert curves["dev_error_rate"].y.tolist() == [line["dev_error_rate"] for line in history]
    assert curves["dev_error_rate"].x.tolist() == [1, 2, 3]
    for name in ("loss", "gradient_norm", "learning_rate", "audio_s_per_s"):
        assert len(curves[name].x) >= 3 and (curves[name].y > 0).all()
        assert (np.diff(curves[name].x) > 0).all()


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_two_runs_make_one_picture(trained, tmp_path, suffix):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "history.jsonl").write_text((trained / "history.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    out = tmp_path / f"runs.{suffix}"
    run([trained, tmp_path / "other"], out)
    start = out.read_bytes()[:8]
    assert start == b"\x89PNG\r\n\x1a\n" if suffix == "png" else start.startswith(b"<?xml")
    if suffix == "svg":
        text = out.read_text(encoding="utf-8")
        assert re.search("<!-- ds2 -->", text) and re.search("<!-- other -->", text)
        assert all(f"<!-- {panel.title} -->" in text for panel in PANELS)


def test_many_points_become_few_and_what_is_not_finite_is_left_out():
    y = np.ones(5001)
    y[7], y[9] = np.nan, np.inf
    curve = runs.thinned(Curve(np.arange(5001), y), np.mean)
    assert len(curve.x) == len(curve.y) == MAX_POINTS and (curve.y == 1).all()
    few = runs.thinned(Curve(np.arange(3), np.array([1.0, np.nan, 3.0])), np.mean)
    assert (few.x.tolist(), few.y.tolist()) == ([0, 2], [1.0, 3.0])


def test_runs_of_one_name_go_by_their_paths(tmp_path):
    assert names([tmp_path / "a" / "ds2", tmp_path / "b" / "small"]) == ["ds2", "small"]
    assert names([tmp_path / "a" / "ds2", tmp_path / "b" / "ds2"]) == [str(tmp_path / "a" / "ds2"), str(tmp_path / "b" / "ds2")]


def test_what_is_missing_is_named(trained, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        run([tmp_path / "nowhere"], tmp_path / "runs.png")
    with pytest.raises(UserError, match=".png .svg .pdf"):
        run([trained], tmp_path / "runs.jpg")
    (tmp_path / "exp" / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no record of training.*\nRun: ds2 train .*--exp empty"):
        run([tmp_path / "exp" / "empty"], tmp_path / "runs.png")
    (tmp_path / "exp" / "empty" / "history.jsonl").write_text('{"epoch": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match="history.jsonl is damaged"):
        run([tmp_path / "exp" / "empty"], tmp_path / "runs.png")
    assert not (tmp_path / "runs.png").exists()
