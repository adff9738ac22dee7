"""Everything that students of the assignment need neither write nor read.

The folders are floors: each module uses only its own floor and those below it.

jobs/      what a command does: flags, runs (one training on disk), checkpoints, results, plots, photos
learning/  training (pictures, mini-batches, Recipe, train, evaluate), task (classification or regression), augment,
           muon
*.py       what a colour is: pixels (bytes to numbers, grey), palette, kmeans, decode, metrics
data/      datasets (one table of what --data can be), cifar10, batch_files, picture_folder, image_file
system/    cli, files (atomic writes, locks), untrusted (reads files from strangers safely), devices, torchrun
"""
