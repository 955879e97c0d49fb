"""Hold the demo to its error rates: greedy test-clean at most 5%, over the graph at most 3%."""

import json
import sys
from pathlib import Path

LIMITS = {"greedy": 5.0, "beam": 3.0, "k2": 3.0, "kaldi": 3.0}

scores = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["scores"]
whole = {one["method"]: one["wer_percent"] for one in scores if (one["set"], one["condition"]) == ("test-clean", "all")}
assert {"greedy", "kaldi"} <= whole.keys(), f"methods decoded: {sorted(whole)}"
for method, rate in whole.items():
    print(f"test-clean {method}: WER {rate:.2f}%, at most {LIMITS[method]}% wanted")
    assert rate <= LIMITS[method], f"{method} is worse than {LIMITS[method]}%"
