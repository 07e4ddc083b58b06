"""What the scanner is: grids and scans as values, in millimetres and radians.

Conventions
-----------
They are ODL's, and thereby ASTRA's turned by a quarter; everything else relies on them.

* An image is ``image[row, column]``. The coordinate ``x`` grows with the row, ``y`` with the
  column, and the rotation axis goes through the origin. A volume is
  ``volume[slice, row, column]`` with ``z`` growing with the slice.
* At view angle ``t`` the detector lies along ``e = (cos t, sin t)`` in ``(x, y)`` and rays run
  along ``d = (-sin t, cos t)``. The ray of a parallel beam at detector position ``u`` is
  ``x cos t + y sin t = u``. Shown with row 0 at the top, angles turn counter-clockwise.
* Detector positions grow with the bin's index; the middle of bin ``k`` of ``n`` is at
  ``offset + (k - (n - 1) / 2) spacing``. The rotation axis is seen at position 0, which is bin
  ``center_bin``; ``with_center`` moves the detector so that it is a given bin.
* ASTRA's x is our y and its y is our -x, so its parallel angle is ours minus pi / 2.
* `n_angles` views lie at the middles of equal parts of the angular range (ODL's
  ``uniform_partition``), not at their starts as ``numpy.linspace`` would put them.
* A sinogram is ``(angles, detectors)``, that of a cone beam ``(angles, rows, columns)``.
* `Views` gives every view by vectors in these axes, ``(x, y)`` or ``(z, x, y)``.
"""

from tomolearn.geometry.cone import ConeBeam
from tomolearn.geometry.coverage import CoverageWarning, coverage_gap, field_of_view
from tomolearn.geometry.fan import FanBeam
from tomolearn.geometry.grid import Grid
from tomolearn.geometry.parallel import ParallelBeam
from tomolearn.geometry.rotation import RotationScan
from tomolearn.geometry.scan import Scan, ViewVectors
from tomolearn.geometry.serialization import geometry_from_dict, load_geometry, save_geometry
from tomolearn.geometry.views import Views

__all__ = [
    "ConeBeam",
    "CoverageWarning",
    "FanBeam",
    "Grid",
    "ParallelBeam",
    "RotationScan",
    "Scan",
    "ViewVectors",
    "Views",
    "coverage_gap",
    "field_of_view",
    "geometry_from_dict",
    "load_geometry",
    "save_geometry",
]
