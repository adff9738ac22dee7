#!/usr/bin/env bash
# Train every weight file of this folder on the embedded horses. Interrupted, it goes on where it stopped.
#   weights/train_all.sh [FOLDER]      (default: weights/retrained, so that the shipped files stay)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-weights/retrained}
python=${PYTHON:-python}
recipe="--schedule onecycle -l 0.01 -b 50 -e 60 --augment hflip,hshift,vshift --precision fp32"

train() { # SCRIPT NAME FLAGS...
    local script=$1 name=$2
    shift 2
    SECONDS=0
    $python "$script" "$@" $recipe --checkpoint "$folder/$name.pkl" --outdir "$folder" --resume
    echo "$name took $SECONDS s"
}

for filters in 32 16; do
    train colourization.py "unet_k3_f$filters" --model UNet -f $filters --grey_start
    train colourization.py "cnn_k3_f$filters" --model CNN -f $filters
    train colourization.py "dunet_k3_f$filters" --model DUNet -f $filters --grey_start
    train colour_regression.py "regression_cnn_k3_f$filters" --train -f $filters
done
