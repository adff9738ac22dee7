"""What a command does: read its flags, run a training on disk, load and score weights, draw, colour photos."""
