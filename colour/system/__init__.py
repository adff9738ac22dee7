"""What every part needs of the machine: the terminal, files, devices, other processes."""
