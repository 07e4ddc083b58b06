from .benchmarking.run import (
    BenchmarkResults as BenchmarkResults,
    BenchmarkSettings as BenchmarkSettings,
    run_benchmark as run_benchmark,
)
from .bootstrap import Interval as Interval, paired_bootstrap as paired_bootstrap
from .calibration import (
    ConformalCalibration as ConformalCalibration,
    conformal_calibration as conformal_calibration,
    fewest_images as fewest_images,
)
from .comparison import compare as compare
from .convergence import Trace as Trace, draw_traces as draw_traces, trace as trace
from .equilibrium import (
    EquilibriumPath as EquilibriumPath,
    EquilibriumStudy as EquilibriumStudy,
    equilibrium_path as equilibrium_path,
    equilibrium_study as equilibrium_study,
)
from .estimation import (
    CalibratedUncertainty as CalibratedUncertainty,
    calibrate_uncertainty as calibrate_uncertainty,
)
from .image_quality import (
    EdgeMTF as EdgeMTF,
    NoisePower as NoisePower,
    contrast_to_noise as contrast_to_noise,
    edge_mtf as edge_mtf,
    noise_power_spectrum as noise_power_spectrum,
)
from .perturbation import Perturbation as Perturbation, worst_perturbation as worst_perturbation
from .results import Comparison as Comparison, Row as Row
from .segmentation import (
    SegmentationScore as SegmentationScore,
    segmentation_score as segmentation_score,
)
from .stability import Stability as Stability, stability as stability
from .stress import Stress as Stress, stress as stress
from .uncertainty import (
    Coverage as Coverage,
    Estimates as Estimates,
    RegionCoverage as RegionCoverage,
    UncertaintyReport as UncertaintyReport,
    coverage as coverage,
    draw_calibration as draw_calibration,
    judge_uncertainty as judge_uncertainty,
    negative_log_likelihood as negative_log_likelihood,
)
from .weight_choice import WeightChoice as WeightChoice, choose_weight as choose_weight
from .workers import Workers as Workers
