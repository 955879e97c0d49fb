# The driver that every run.sh sources: options, stage(), logging.

set -euo pipefail

script=${BASH_SOURCE[1]}
recipe=$(cd "$(dirname "$script")" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stage=0 stop_stage=100 nj= conf= exp= variant= corpus= size= option= noises= help= given_recipe=
settings=()
unset corpus_dir model

usage() {
  sed -n '2s/^# *//p' "$script"
  cat <<END

Options:
  --stage N         start at stage N and go on (default 0)
  --stop-stage M    end after stage M
  --toy             make a toy corpus in the layout of the real one and use the small configuration
  --size N          at most N utterances a split of the toy corpus
  --variant NAME    a variant of recipe.yaml; --mini and --corpus NAME are short for it
  --corpus-dir DIR  a copy of the corpus that you already have
  --option K=V      an option of the recipe's prepare(), as in channel=4
  --noises DIR      recordings of noise, where the recipe has a stage for it
  --conf NAME       training configuration: conf/NAME.yaml or a path
  --set K=V         a setting of the training configuration, as in seed=1; as often as you like
  --exp NAME        name of the experiment folder below exp/ (default ds2)
  --model DIR       test another recipe's model, as in ../librispeech/exp/ds2: only stages that test are run
  --nj N            number of parallel jobs
  --help            this text

Stages:
END
}

fail() { echo "$script: $*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in
    --help|-h) help=true; shift ;;
    --toy) toy=toy; shift ;;
    --mini) variant=mini; shift ;;
    --set)
      [ $# -ge 2 ] || fail "$1 needs a value"
      settings+=(--set "$2"); shift 2 ;;
    --stage|--stop-stage|--nj|--conf|--exp|--variant|--corpus|--corpus-dir|--size|--option|--noises|--model|--recipe)
      [ $# -ge 2 ] || fail "$1 needs a value"
      name=${1#--}; printf -v "${name//-/_}" %s "$2"
      [ "$1" != --recipe ] || given_recipe=true
      shift 2 ;;
    *) fail "unknown option $1; the options are --stage --stop-stage --toy --size --mini --variant --corpus" \
         "--corpus-dir --option --noises --conf --set --exp --model --nj --help" ;;
  esac
done
for number in "$stage" "$stop_stage" "${nj:-1}" "${size:-1}"; do
  [[ $number =~ ^[0-9]+$ ]] || fail "expected a whole number, got '$number'"
done
variant=${variant:-$corpus}
[ -z "${toy-}" ] || variant=${variant:+$variant-}toy
[ -z "$given_recipe" ] || { [ -d "$recipe" ] && recipe=$(cd "$recipe" && pwd); } || fail "--recipe '$recipe' is not a folder"
[ -n "$help" ] || [ -f "$recipe/recipe.yaml" ] || fail "no recipe.yaml in $recipe: name a recipe folder with --recipe DIR"

if [ -n "${corpus_dir+given}" ]; then
  [ -d "$corpus_dir" ] || fail "--corpus-dir '$corpus_dir' is not a folder"
  corpus_dir=$(cd "$corpus_dir" && pwd)
fi
if [ -n "${model+given}" ]; then
  [ -e "$model" ] || model=$recipe/$model
  [ -e "$model" ] || fail "--model '$model' does not exist, nor does it below the current folder"
  model=$(realpath "$model")
fi

if [ -z "$help" ] && ! command -v ds2 >/dev/null; then
  [ -x "$root/.venv/bin/ds2" ] || fail "ds2 is not installed; run: make -C $root install"
  PATH=$root/.venv/bin:$PATH
fi
[ -z "$help" ] || usage

# The options of run.sh that a verb takes, as that verb's options, one a line.
options_of() {
  [ -z "$variant" ] || printf '%s\n' --variant "$variant"
  case $1 in
    download|prepare)
      [ -z "${corpus_dir-}" ] || printf '%s\n' --corpus-dir "$corpus_dir"
      [ -z "$option" ] || printf '%s\n' --option "$option" ;;
    train)
      [ -z "$conf" ] || printf '%s\n' --conf "$conf"
      [ ${#settings[@]} -eq 0 ] || printf '%s\n' "${settings[@]}" ;;
  esac
  case $1 in noise) [ -z "$noises" ] || printf '%s\n' --noises "$noises" ;; esac
  case $1 in download) [ -z "$size" ] || printf '%s\n' --size "$size" ;; esac
  case $1 in prepare|features|tune|decode) [ -z "$nj" ] || printf '%s\n' --nj "$nj" ;; esac
  case $1 in train|tune|decode|score) [ -z "$exp" ] || printf '%s\n' --exp "$exp" ;; esac
  case $1 in decode|score) [ -z "${model-}" ] || printf '%s\n' --model "$model" ;; esac
}

# stage NUMBER TITLE ds2 VERB [OPTION...]: run it when its turn has come, printed as the command that repeats it.
stage() {
  local number=$1 title=$2 verb=$4 options
  if [ -n "$help" ]; then printf '  %2d  %-34s ds2 %s\n' "$number" "$title" "${*:4}"; return; fi
  if [ "$number" -lt "$stage" ] || [ "$number" -gt "$stop_stage" ]; then return; fi
  if [ -n "${model-}" ] && [[ ! $verb =~ ^(download|prepare|decode|score)$ ]]; then
    echo "$(date '+%Y-%m-%d %H:%M:%S') Stage $number: $title: not needed with --model" >&2
    return
  fi
  mapfile -t options < <(options_of "$verb")
  shift 3
  [ "$verb" = compare ] || set -- "$@" --recipe "$recipe" "${options[@]}"
  set -- ds2 "$@"
  echo "$(date '+%Y-%m-%d %H:%M:%S') Stage $number: $title" >&2
  echo "    $(printf '%q ' "$@")" >&2
  "$@"
}
