#!/usr/bin/env bash
# From raw data to a model that answers "anterior hippocampus" and "posterior hippocampus", and its
# evaluation on the 40 cases that fold 0 holds aside. DATA holds Dataset004_Hippocampus in nnU-Net's
# layout, OUT gets everything else. Measured figures: docs/training.md.
#
#     bash examples/training/hippocampus.sh DATA OUT [STEPS]
set -euo pipefail
export TEXTSEG3D_raw="$1" TEXTSEG3D_preprocessed="$2/preprocessed" TEXTSEG3D_results="$2/results"
steps="${3:-2400}"
textseg3d="${PYTHON:-python} -m textseg3d.cli"
begin=$(date +%s)
$textseg3d plan_and_preprocess -d 4 -c 3d_fullres
$textseg3d train 4 3d_fullres 0 --network nano --batch 2 --steps "$steps" --learning-rate 2e-3 \
    --validate-every 400
echo "$(($(date +%s) - begin)) seconds; processor time (user, system) of the shell and of the commands:"
times
