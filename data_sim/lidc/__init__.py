"""Synthetic patients in the form in which LIDC-IDRI is published: DICOM series and XML readings.

What readers of the collection stumble over is reproduced: both layouts of folders, XML files with
the images or apart; stored values of four makers, with and without a scan circle of -2000 that the
header may not declare; head or feet first, instance numbers in either direction; chest radiographs
among the CT series, with XML in a schema of their own; four readers who do not all see the same,
contours on the pixels just outside, holes, single points for nodules under 3 mm and non-nodules.

What is not: two CT series of one patient, patients on the belly, slices of a finite thickness, and
readings by fewer than four readers.

References: S. G. Armato et al., Med. Phys. 38 (2011), doi 10.1118/1.3528204; the collection, doi
10.7937/K9/TCIA.2015.LO9QL9SX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
