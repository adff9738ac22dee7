"""How a network learns: the task, the loop, its optimizer, its augmentation."""
