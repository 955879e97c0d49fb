"""A recipe of two files, outside the repository: spoken digits of three accents in training, a fourth one in the test."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TRAINING = """
num_epochs: 6
precision: bf16
model: {conv: {channels: [16, 16]}, num_rnn_layers: 2, rnn_size: 128}
optimiser: {kind: adamw, learning_rate: 3.0e-3, schedule: one_cycle, loss_reduction: mean}
batches: {budget_s: 16, num_workers: 0}
"""


def test_two_files_go_from_audio_to_error_rates_by_accent(real_speech, tmp_path):
    recipe = tmp_path / "digits"
    shutil.copytree(ROOT / "tests" / "fsdd", recipe, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "quick.yaml").write_text(TRAINING, encoding="utf-8")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", ROOT / "egs/run.sh", "--recipe", recipe, "--corpus-dir", real_speech / "fsdd", "--conf", tmp_path / "quick.yaml"]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    scores = json.loads((recipe / "exp/ds2/score/score.json").read_text(encoding="utf-8"))["scores"]
    rows = {(one["set"], one["condition"]): one for one in scores if one["method"] == "kaldi"}
    assert {key: one["num_utterances"] for key, one in rows.items()} == {
        ("dev", "all"): 150, ("dev", "american"): 50, ("dev", "belgian-french"): 50, ("dev", "german"): 50,
        ("test", "all"): 500, ("test", "greek"): 500,
    }  # fmt: skip
    assert rows["dev", "all"]["wer_percent"] < 10  # known voices
    assert rows["test", "greek"]["wer_percent"] < 80  # guessing would give 90
