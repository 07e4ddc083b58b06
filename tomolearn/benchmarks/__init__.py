"""Speed and memory of projectors, methods, training, equilibrium networks and batches."""
