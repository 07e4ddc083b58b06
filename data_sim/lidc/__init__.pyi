from .patient import (
    Lesion as Lesion,
    SyntheticPatient as SyntheticPatient,
    lidc_patient as lidc_patient,
)
from .reading import (
    Contour as Contour,
    Mark as Mark,
    NonNodule as NonNodule,
    Reading as Reading,
    read as read,
)
from .writing import (
    PatientFiles as PatientFiles,
    patient_files as patient_files,
    write_lidc as write_lidc,
)
