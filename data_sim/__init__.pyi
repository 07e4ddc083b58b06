from .ellipses import Ellipses as Ellipses
from .ellipsoids import (
    Ellipsoids as Ellipsoids,
    ellipsoid_line_integrals as ellipsoid_line_integrals,
    random_ellipsoid_parameters as random_ellipsoid_parameters,
    random_ellipsoids as random_ellipsoids,
    rasterise_ellipsoids as rasterise_ellipsoids,
)
from .helix import Helix as Helix, ellipsoid_volume as ellipsoid_volume, write_ct_pd as write_ct_pd
from .lidc import (
    SyntheticPatient as SyntheticPatient,
    lidc_patient as lidc_patient,
    write_lidc as write_lidc,
)
from .noise import (
    counts_to_line_integrals as counts_to_line_integrals,
    gaussian_noise as gaussian_noise,
    low_dose as low_dose,
    photon_counts as photon_counts,
)
from .phantoms import (
    random_ellipse_parameters as random_ellipse_parameters,
    random_ellipses as random_ellipses,
    shepp_logan as shepp_logan,
    shepp_logan_ellipses as shepp_logan_ellipses,
)
from .rasterisation import rasterise as rasterise
from .resolution import as_scanned as as_scanned
from .sinograms import (
    fan_sinogram as fan_sinogram,
    line_integrals as line_integrals,
    parallel_sinogram as parallel_sinogram,
)
from .thorax import (
    REGIONS as REGIONS,
    Nodule as Nodule,
    Thorax as Thorax,
    random_thorax as random_thorax,
    random_thorax_regions as random_thorax_regions,
    random_thorax_slice as random_thorax_slice,
)
