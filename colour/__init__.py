"""Everything that students of the assignment need neither write nor read.

what a colour is     pixels (bytes to numbers, grey), palette, kmeans, decode, metrics
learning             task (classification or regression), training (pictures, mini-batches, Recipe, train, evaluate),
                     augment, muon, devices, torchrun
a run on disk        runs (one training: lock, resume, stop, save), checkpoints (weights, sidecar, state)
pictures in          datasets (one table of what --data can be), cifar10, batch_files, picture_folder, image_file
pictures out         results (tables, strips, comparison), photos, plots
files                files (atomic writes, locks), untrusted (reads files from strangers safely)
command line         cli, flags
"""
