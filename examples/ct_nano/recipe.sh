#!/usr/bin/env bash
# From data to the weights of ct-nano, both stages, and their evaluation. DATA holds train/, val/ and
# atlases/; OUT gets everything else. Seeds are 0. The data are compared with data.sha256 first; each
# part's seconds end in OUT/seconds.txt. A part that was done is skipped, a training that was stopped
# goes on, so the same command resumes. With more scans: list them in prepare.py and prepare_fine.py;
# options for both trainings are taken from TRAIN_OPTIONS ("--device cuda --batch 4").
#
#     bash examples/ct_nano/recipe.sh DATA OUT [STEPS [FINE_STEPS]]
set -euo pipefail
data="$(realpath "$1")" out="$2" steps="${3:-8430}" fine_steps="${4:-6500}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$here/../.."
python="${PYTHON:-python}"
textseg3d="$python -m textseg3d.cli"
withheld=(
  "pulmonary nodule" "liver lesion" "renal cyst" "left common iliac artery"
  "right common iliac artery" "left common iliac vein" "right common iliac vein"
  "brachiocephalic trunk" "costal cartilages" "thoracic vertebrae" "lumbar vertebrae"
)
read -r -a options <<<"${TRAIN_OPTIONS:-}"
mkdir -p "$out"

part() { # NAME COMMAND…: run once, and write down how long it took
  [ -e "$out/$1.done" ] && return
  local begin=$SECONDS name="$1"
  shift
  "$@"
  echo "$name $((SECONDS - begin))" >>"$out/seconds.txt"
  touch "$out/$name.done"
}

train() { # DATA CONFIGURATION RUN STEPS OPTIONS…
  local resume=()
  [ -e "$3/checkpoint.safetensors" ] && resume=(--continue)
  $textseg3d train "$1" "$2" -p "$root/plans/ct-nano.json" --text "$root/model_zoo/ct-nano/text" \
    -o "$3" --steps "$4" "${options[@]}" "${resume[@]}" "${@:5}"
}

(cd "$data" && sha256sum --check --quiet "$here/data.sha256")
part prepare $python "$here/prepare.py" --data "$data" --out "$out/data" --outlines "$here/outlines"
part train train "$out/data" 3mm "$out/run" "$steps" --card "$here/card.json" \
  --withhold "${withheld[@]}" --model-folder "$out/ct-nano"
cp "$root/model_zoo/ct-nano/postprocessing.json" "$out/ct-nano/"
part prepare-fine $python "$here/prepare_fine.py" --data "$data" --out "$out/fine-data" \
  --model "$out/ct-nano"
part train-fine train "$out/fine-data" fine "$out/fine-run" "$fine_steps" --prompts 1 \
  --threshold 0.88 --model-folder "$out/ct-nano"
part evaluate $textseg3d evaluate --model "$out/ct-nano" --cases "$data/val" -o "$out/evaluation"
part absent $python "$root/benchmarks/absent.py" --data "$data" --model "$out/ct-nano"
part nodules $python "$root/benchmarks/nodules.py" --data "$data" --model "$out/ct-nano"
cat "$out/seconds.txt"
