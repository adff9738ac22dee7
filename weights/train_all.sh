#!/usr/bin/env bash
# Train every weight file for horses of this folder, and say how long each took: 16 minutes in all on two
# cores. Interrupted, it goes on where it stopped.
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

# After --grey_start, training on horses that are only flipped over-fits, so the UNets see them shifted, too.
unet="--grey_start -l 0.01 -e 40 --augment hflip,hshift,vshift"

for filters in 32 16; do
    train colourization.py "unet_k3_f$filters" --model UNet -f $filters $unet
    train colourization.py "cnn_k3_f$filters" --model CNN -f $filters -l 0.05 --augment hflip \
        -e $((filters == 32 ? 25 : 40))
    train colourization.py "dunet_k3_f$filters" --model DUNet -f $filters $unet
    train colour_regression.py "regression_cnn_k3_f$filters" --train -f $filters -l 0.03 -e 60 --augment hflip
done
