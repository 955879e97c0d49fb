#!/usr/bin/env bash
# Install kaldifeat (Kaldi features, optional) into .venv; the first time it is compiled for the torch found there.
#
#   bash tools/install_kaldifeat.sh          VENV=dir names another environment
#
# kaldifeat has no wheel and fits exactly one torch. The wheel built here is kept in
# ${XDG_CACHE_HOME:-~/.cache}/ds2toolkit/wheels/<torch>-<python>/, so the next time takes seconds.
set -euo pipefail

version=1.24
pybind11_version=3.0.1   # later source packages have no CMake tree, and without one kaldifeat fetches it by git
build_tools=("setuptools<80" "wheel==0.45.1" "cmake==3.31.10")

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(realpath -m "${VENV:-.venv}")
python=$venv/bin/python

say() { echo "install_kaldifeat: $*"; }
fail() { say "$1" >&2; shift; for line in "$@"; do echo "    $line" >&2; done; exit 1; }

[[ -x $python ]] || fail "there is no Python environment at $venv." "Run: make install"
key=$("$python" -c 'import sys, torch; print(f"{torch.__version__}-cp{sys.version_info[0]}{sys.version_info[1]}")') \
    || fail "torch does not import in $venv." "Run: make install"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ds2toolkit/wheels/$key
mkdir -p "$cache" || fail "cannot make the folder $cache." "Set XDG_CACHE_HOME to a folder you can write to."

works() {
    "$python" - 2>&1 <<'PYTHON'
import torch, kaldifeat
options = kaldifeat.FbankOptions()
assert kaldifeat.Fbank(options)(torch.rand(16000)).isfinite().all()
PYTHON
}

install() {
    "$python" -m pip install --quiet --no-index --no-deps --force-reinstall "$1" && works
}

# The tools live in a folder of their own: kaldifeat needs an older setuptools than the environment has.
build() {
    local work=$1 jobs
    jobs=$(nproc 2>/dev/null || echo 2)
    mkdir -p "$work"
    "$python" -m pip install --target "$work/tools" "${build_tools[@]}" || return
    "$python" -m pip download --no-deps --no-binary pybind11 --dest "$work" "pybind11==$pybind11_version" || return
    tar -xzf "$work/pybind11-$pybind11_version.tar.gz" -C "$work" || return
    PYTHONPATH="$work/tools" PATH="$work/tools/bin:$PATH" TMPDIR="$work" \
    KALDIFEAT_CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -Dkaldifeat_BUILD_TESTS=OFF -DCMAKE_CXX_STANDARD=20 \
-DFETCHCONTENT_SOURCE_DIR_PYBIND11=$work/pybind11-$pybind11_version" \
    KALDIFEAT_MAKE_ARGS="-j$((jobs > 4 ? 4 : jobs))" \
        "$python" -m pip wheel --no-deps --no-build-isolation --no-binary kaldifeat --no-cache-dir \
            --wheel-dir "$work/wheel" "kaldifeat==$version" --verbose
}

exec 9>"$cache/lock"
flock --nonblock 9 || { say "another build is under way in $cache; waiting for it."; flock 9; }

if works >/dev/null; then
    say "kaldifeat is installed in $venv and works."
    exit 0
fi

work=$cache/build
rm -rf "$work"
trap 'rm -rf "$work"' EXIT

for wheel in "$cache"/kaldifeat-"$version"*.whl; do
    [[ -f $wheel ]] || continue
    if install "$wheel"; then
        say "installed $wheel"
        exit 0
    fi
    say "$wheel does not work with this environment; building it again."
    rm -f "$wheel"
done

for program in c++ make; do
    command -v "$program" >/dev/null || fail "compiling kaldifeat needs $program." \
        "On Debian or Ubuntu: apt-get install build-essential" "Without kaldifeat, features: {backend: lhotse} does the same work."
done

say "compiling kaldifeat $version for torch $key; this takes about 7 minutes. Log: $cache/build.log"
if ! build "$work" >"$cache/build.log" 2>&1; then
    tail -n 15 "$cache/build.log" >&2
    fail "kaldifeat $version could not be built for $key (see $cache/build.log)." \
        "Tried: its source package, with pybind11 $pybind11_version and cmake, in $work (removed again)." \
        "If the network failed, run this again. Without kaldifeat, features: {backend: lhotse} does the same work."
fi

wheel=$(echo "$work"/wheel/kaldifeat-*.whl)
if ! install "$wheel"; then
    "$python" -m pip uninstall --quiet --yes kaldifeat
    fail "kaldifeat was compiled, but does not run with torch $key; it was removed again." "See $cache/build.log"
fi
mv "$wheel" "$cache/"
say "installed kaldifeat $version; the wheel is kept in $cache"
