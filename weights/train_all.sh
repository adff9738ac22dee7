#!/usr/bin/env bash
# Train every weight file for horses of this folder, two at a time, and say how long each took. Interrupted, it goes on
# where it stopped.
#   weights/train_all.sh [FOLDER]      (default: weights/retrained, so that the shipped files stay)
set -euo pipefail
cd "$(dirname "$0")/.."
export folder=${1:-weights/retrained} python=${PYTHON:-python}
export OMP_NUM_THREADS=1 # two trainings in one thread each are faster than one after the other in two
mkdir -p "$folder"

# One recipe for all networks that classify: what tells them apart is the network. Shifts keep the larger ones from
# learning their horses by heart.
same="-e 40 --augment hflip,hshift,vshift"

# In this order both cores are busy to the end. The output of NAME is in NAME.log.
xargs -P 2 -L 1 bash -c '
    script=$0 name=$1
    shift
    SECONDS=0
    "$python" "$script" "$@" --optimizer muon --schedule onecycle -l 0.05 -b 50 --checkpoint "$folder/$name.pkl" \
        --outdir "$folder" --resume > "$folder/$name.log" 2>&1 || { cat "$folder/$name.log" >&2; exit 255; }
    echo "$name took $SECONDS s"' << END
colourization.py cnn_k3_f16 --model CNN -f 16 $same
colourization.py dunet_k3_f32 --model DUNet -f 32 $same
colourization.py unet_k3_f32 --model UNet -f 32 $same
colourization.py cnn_k3_f32 --model CNN -f 32 $same
colourization.py dunet_k3_f16 --model DUNet -f 16 $same
colourization.py unet_k3_f16 --model UNet -f 16 $same
colour_regression.py regression_cnn_k3_f16 --train -f 16 -e 40 --augment hflip
colour_regression.py regression_cnn_k3_f32 --train -f 32 -e 25 --augment hflip
END
