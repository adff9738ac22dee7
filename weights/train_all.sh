#!/usr/bin/env bash
# Train the eight weight files for horses again, and say how long each took: a quarter of an hour at most in all, on
# two cores. If it is interrupted, run it again: it goes on where it stopped.
#   weights/train_all.sh [FOLDER]      (default: weights/retrained, so that the shipped files stay)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-weights/retrained}
python=${PYTHON:-python}

train() { # SCRIPT NAME FLAGS...
    local script=$1 name=$2
    shift 2
    SECONDS=0
    $python "$script" "$@" --schedule onecycle -b 50 --checkpoint "$folder/$name.pkl" --outdir "$folder" --resume
    echo "$name took $SECONDS s"
}

for filters in 32 16; do
    for model in UNet DUNet; do
        train colourization.py "${model,,}_k3_f$filters" --model $model -f $filters --grey_start -l 0.01 -e 30 \
            --augment hflip,hshift,vshift
    done
    train colourization.py "cnn_k3_f$filters" --model CNN -f $filters -l 0.05 -e 25 --augment hflip
    train colour_regression.py "regression_cnn_k3_f$filters" --train -f $filters -l 0.03 -e 40 --augment hflip
done
