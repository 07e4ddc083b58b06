from .body import body_mask as body_mask
from .ct_pd import read_ct_pd as read_ct_pd, write_ct_series as write_ct_series
from .deidentification import Deidentification as Deidentification
from .derivation import Derivation as Derivation
from .derived import DerivedSeries as DerivedSeries
from .derived_slice import HOUNSFIELD_RANGE as HOUNSFIELD_RANGE, DerivedSlice as DerivedSlice
from .discovery import (
    SeriesIndex as SeriesIndex,
    find_series as find_series,
)
from .elements import DicomWarning as DicomWarning
from .example import example_slice_path as example_slice_path
from .half_width_map import write_half_widths as write_half_widths
from .network import Peer as Peer, Receiver as Receiver, send_files as send_files
from .reading import CTSlice as CTSlice, read_slice as read_slice
from .selection import SeriesFilter as SeriesFilter
from .series import Series as Series, Volume as Volume
from .skipping import SkippedFile as SkippedFile, SkipReason as SkipReason
from .slices import SliceInfo as SliceInfo, SourceChangedError as SourceChangedError
from .stack_geometry import (
    IRREGULAR as IRREGULAR,
    Finding as Finding,
    FindingKind as FindingKind,
    heights_of as heights_of,
    step_of as step_of,
    unevenness as unevenness,
)
from .units import (
    MU_WATER_PER_MM as MU_WATER_PER_MM,
    attenuation_to_hounsfield as attenuation_to_hounsfield,
    hounsfield_to_attenuation as hounsfield_to_attenuation,
    mu_water_at as mu_water_at,
)
