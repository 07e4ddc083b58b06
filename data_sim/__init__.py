"""Synthetic data: phantoms and chests, their exact sinograms, photon and electronic noise.

Images are arrays ``image[i, j]``. x runs along axis 0 (rows) and grows with i, y along axis 1
(columns) and grows with j. Phantoms are defined on the normalised square [-1, 1]^2 that covers the
image's extent, edge to edge; chests in millimetres from the isocentre. Nothing here knows torch, or
of tomolearn more than its argument checks, errors and files.

``python -m data_sim lidc OUT --patients N --slices M`` writes patients as LIDC-IDRI has them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
