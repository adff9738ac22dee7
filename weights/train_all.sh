#!/usr/bin/env bash
# Train every weight file for horses of this folder, and say how long each took. Interrupted, it goes on where it
# stopped.
#   weights/train_all.sh [FOLDER]      (default: weights/retrained, so that the shipped files stay)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-weights/retrained}
python=${PYTHON:-python}

train() { # SCRIPT NAME FLAGS...
    local script=$1 name=$2
    shift 2
    SECONDS=0
    $python "$script" "$@" --optimizer muon --schedule onecycle -b 50 --augment hflip \
        --checkpoint "$folder/$name.pkl" --outdir "$folder" --resume
    echo "$name took $SECONDS s"
}

# Weight decay softens what --grey_start knows of brightness, which helps the colours.
unet="--grey_start -l 0.03 --weight_decay 0.04 -e 8"

for filters in 32 16; do
    train colourization.py "unet_k3_f$filters" --model UNet -f $filters $unet
    train colourization.py "cnn_k3_f$filters" --model CNN -f $filters -l 0.05 -e 15
    train colourization.py "dunet_k3_f$filters" --model DUNet -f $filters $unet
    train colour_regression.py "regression_cnn_k3_f$filters" --train -f $filters -l 0.05 -e 25
done
