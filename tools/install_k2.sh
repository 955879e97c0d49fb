#!/usr/bin/env bash
# Install k2 (lattices, graph decoding; optional): into .venv where a build for its torch exists, else beside it.
#
#   bash tools/install_k2.sh                 VENV=dir names another environment, DS2_K2_ENV=dir another place for k2's own
#
# A k2 build fits exactly one torch. The last release on PyPI wants torch 1.13.1, so where there is no build for the torch
# of .venv, k2 gets an environment of its own, once a machine, in ${XDG_CACHE_HOME:-~/.cache}/ds2toolkit/k2-env;
# decoding starts it as a worker. 2 GB of downloads, 3.5 GB on disk, about 2 minutes.
set -euo pipefail

pip_version=23.2.1   # later ones refuse the release's file name
requirements=(torch==1.13.1 numpy==1.26.4 graphviz==0.21)
k2="k2==1.23.4 --hash=sha256:5b5f709b12b9cd092b583984d0b7d940c9f898101259c998d68d1f4adefa48d4"
needed_kb=4500000

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(realpath -m "${VENV:-.venv}")
target=$(realpath -m "${DS2_K2_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ds2toolkit/k2-env}")
log=$target.log

say() { echo "install_k2: $*"; }
fail() {
    say "$1" >&2; shift
    for line in "$@" "Without k2, decoding uses kaldi-decoder on the same graph."; do echo "    $line" >&2; done
    exit 1
}

# Imports k2 and intersects a graph of one arc with one frame.
works() {
    [[ -x $1 ]] && "$1" -I - >/dev/null 2>&1 <<'PYTHON'
import k2, torch
graph = k2.create_fsa_vec([k2.Fsa.from_str("0 1 1 0.5\n1 2 -1 0\n2")])
frames = k2.DenseFsaVec(torch.tensor([[[-2.0, -1.0]]]), torch.tensor([[0, 0, 1]], dtype=torch.int32))
lattice = k2.intersect_dense_pruned(graph, frames, 10.0, 10.0, 1, 10)
assert abs(lattice.get_tot_scores(use_double_scores=True, log_semiring=False).item() + 0.5) < 1e-6
PYTHON
}

# The page of k2's authors for the torch of .venv, and the newest k2 there that was built for it.
matching_build() {
    "$venv/bin/python" - <<'PYTHON'
import re, sys, urllib.parse, urllib.request
import torch
release, cuda = torch.__version__.partition("+")[0], torch.version.cuda
page = f"https://k2-fsa.github.io/k2/{'cuda' if cuda else 'cpu'}.html"
tag = re.escape(f"{f'cuda{cuda}' if cuda else 'cpu'}.torch{release}")
python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
with urllib.request.urlopen(page, timeout=10) as answer:
    text = urllib.parse.unquote(answer.read().decode())
found = {(tuple(map(int, re.findall(r"\d+", v))), v + t) for v, t in re.findall(rf"k2-([\w.]+)(\+{tag})-{python}-", text)}
if not found:
    sys.exit(f"{page} has no build for torch {release} and {python}")
print(page, max(found)[-1])
PYTHON
}

into_venv() {
    local page_and_version page version
    page_and_version=$(matching_build 2>&1) || { say "no k2 for the torch of $venv: ${page_and_version##*$'\n'}"; return 1; }
    read -r page version <<<"$page_and_version"
    say "trying k2 $version from $page"
    "$venv/bin/python" -m pip install --quiet --no-deps --only-binary :all: --timeout 20 --retries 1 \
        --find-links "$page" "k2==$version" && works "$venv/bin/python" && return
    "$venv/bin/python" -m pip uninstall --quiet --yes k2 2>/dev/null || true
    say "k2 $version does not work with the torch of $venv; it was removed again"
    return 1
}

python_3_11() {
    local python
    for python in "$venv/bin/python" python3.11 python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo "$python" && return
    done
    return 1
}

build() {
    "$1" -m venv "$part" || return
    local pip=("$part/bin/python" -m pip --disable-pip-version-check)
    "${pip[@]}" install "pip==$pip_version" || return
    "${pip[@]}" install --only-binary :all: "${requirements[@]}" || return
    echo "$k2" >"$part/k2.txt"
    "${pip[@]}" install --no-deps --require-hashes --requirement "$part/k2.txt" || return
    works "$part/bin/python" || { echo "k2 is installed in $part but does not work"; return 1; }
}

if works "$venv/bin/python"; then
    say "k2 is installed in $venv and works."
    exit 0
fi
mkdir -p "$(dirname "$target")" || fail "cannot make the folder $(dirname "$target")." \
    "Set DS2_K2_ENV to one you can write to."
exec 9>"$target.lock" || fail "cannot write $target.lock." "Set DS2_K2_ENV to a folder you can write to."
flock --nonblock 9 || { say "another installation of $target is under way; waiting for it."; flock 9; }
if works "$target/bin/python"; then
    say "k2 is installed in $target and works."
    exit 0
fi
[[ ! -e $target || -e $target/pyvenv.cfg ]] \
    || fail "$target exists and is no Python environment." "Set DS2_K2_ENV to a folder that does not exist yet."

if [[ -x $venv/bin/python ]] && into_venv; then
    say "installed k2 in $venv."
    exit 0
fi

[[ $(uname -sm) == "Linux x86_64" ]] || fail "the last release of k2 on PyPI is for Linux on x86_64, this is $(uname -sm)."
python=$(python_3_11) || fail "the last release of k2 on PyPI is for Python 3.11 only, and there is none here." \
    "Tried: $venv/bin/python, python3.11, python3." "Install Python 3.11 and run: make k2"
free_kb=$(df --output=avail "$(dirname "$target")" | tail -n 1)
((free_kb > needed_kb)) || fail "$(dirname "$target") has too little room: k2 needs $((needed_kb / 1000)) MB." \
    "Make room, or set DS2_K2_ENV to a folder on a larger disk, and run: make k2"

part=$target.part
trap 'rm -rf "$part"' EXIT
trap 'exit 130' INT TERM HUP
rm -rf "$part"
say "making $target (2 GB of downloads, about 2 minutes). Log: $log"
if ! build "$python" >"$log" 2>&1; then
    tail -n 10 "$log" >&2
    fail "k2 could not be installed (see $log); nothing is left of the attempt." \
        "Tried: a build for the torch of $venv; then ${requirements[*]} and ${k2%% *} in $part." \
        "If the network failed, run again: make k2"
fi
rm -rf "$target"
mv "$part" "$target"
works "$target/bin/python" || { rm -rf "$target"; fail "k2 worked in $part, but not in $target; it was removed again."; }
say "installed k2 in $target."
