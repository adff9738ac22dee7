#!/usr/bin/env bash
# Train every weight file of this folder on the embedded horses, and say how long each took: an hour and a half
# in all on two cores. Interrupted, it goes on where it stopped.
#   weights/train_all.sh [FOLDER]      (default: weights/retrained, so that the shipped files stay)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-weights/retrained}
python=${PYTHON:-python}

train() { # SCRIPT NAME FLAGS...
    local script=$1 name=$2
    shift 2
    SECONDS=0
    $python "$script" "$@" --schedule onecycle -b 50 --precision fp32 \
        --checkpoint "$folder/$name.pkl" --outdir "$folder" --resume
    echo "$name took $SECONDS s"
}

# The UNets over-fit without shifts; the CNN, which squeezes all through 8x8, under-fits, and takes long instead.
shifts="-l 0.01 -e 60 --augment hflip,hshift,vshift"
flips="-l 0.02 --augment hflip"

for filters in 32 16; do
    train colourization.py "unet_k3_f$filters" --model UNet -f $filters --grey_start $shifts
    train colourization.py "cnn_k3_f$filters" --model CNN -f $filters $flips -e $((filters == 32 ? 150 : 200))
    train colourization.py "dunet_k3_f$filters" --model DUNet -f $filters --grey_start $shifts
    train colour_regression.py "regression_cnn_k3_f$filters" --train -f $filters $shifts
done
