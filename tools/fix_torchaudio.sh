#!/usr/bin/env bash
# Make torchaudio import beside a CPU-only torch: its wheel carries CUDA extensions that would stop it.
#
#   bash tools/fix_torchaudio.sh             VENV=dir names another environment
#
# Filters, resampling and SpecAugment are plain Python and stay; forced_align goes. Safe to repeat.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(realpath -m "${VENV:-.venv}")
python=$venv/bin/python

say() { echo "fix_torchaudio: $*"; }
[[ -x $python ]] || { say "there is no Python environment at $venv. Run: make install" >&2; exit 1; }

lib=$("$python" - <<'PYTHON'
import importlib.util, pathlib
import torch
spec = importlib.util.find_spec("torchaudio")
if torch.version.cuda is None and spec is not None:
    print(pathlib.Path(spec.origin).parent / "lib")
PYTHON
) || { say "torch does not import in $venv. Run: make install" >&2; exit 1; }

[[ -n $lib ]] || { say "nothing to do (torch has CUDA, or torchaudio is not installed)."; exit 0; }
for extension in "$lib"/*.so; do
    [[ -f $extension ]] || continue
    rm "$extension"
    say "removed $extension (made for CUDA; this torch is CPU-only)."
done
"$python" -c 'import torchaudio' || { say "torchaudio still does not import in $venv." >&2; exit 1; }
say "torchaudio imports."
