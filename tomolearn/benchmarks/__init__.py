"""Speed: projectors, methods, training, deep equilibrium, batches of DICOM."""
