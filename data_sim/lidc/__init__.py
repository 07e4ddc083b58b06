"""Synthetic patients in the form in which LIDC-IDRI is published: DICOM series and XML readings.

What is reproduced, because readers of the collection stumble over it:

- both layouts of folders, and XML files with the images or apart from them;
- scanners of four makers: stored values are signed or unsigned, of 12 or 16 bits, with intercept
  -1024 or 0; outside of the scan circle lies -2000, which one maker declares as Pixel Padding
  Value, one does not, and two have no such circle;
- head first and feet first, instance numbers that grow upwards or downwards, pixels of 0.5 to
  0.9 mm, slices 0.6 to 3 mm apart, z of any sign and size;
- chest radiographs among the CT series, and XML files in a schema of their own beside them;
- four readers who do not all see the same, contours that run around the nodules on the pixels just
  outside, regions excluded from nodules, single points for nodules under 3 mm and for what is no
  nodule.

What is not: two CT series of one patient, patients on the belly, contrast agent, slices of a finite
thickness (a slice is drawn at its middle), and readings by fewer than four readers.

References: S. G. Armato et al., Med. Phys. 38 (2011), doi 10.1118/1.3528204; the collection, doi
10.7937/K9/TCIA.2015.LO9QL9SX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
