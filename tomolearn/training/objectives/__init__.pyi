from .adversarial import Adversarial as Adversarial
from .bilevel import Bilevel as Bilevel
from .denoising import Denoising as Denoising
from .diffusion import Diffusion as Diffusion
from .equivariant_imaging import EquivariantImaging as EquivariantImaging
from .greedy import Greedy as Greedy
from .joint_segmentation import JointSegmentation as JointSegmentation
from .likelihood import Likelihood as Likelihood
from .noise2inverse import Noise2Inverse as Noise2Inverse
from .objective import Batch as Batch, Network as Network, Objective as Objective
from .random_acquisition import RandomAcquisition as RandomAcquisition
from .random_arc import RandomArc as RandomArc
from .score import ScoreMatching as ScoreMatching
from .supervised import Supervised as Supervised
from .sure import SURE as SURE
from .table import OBJECTIVES as OBJECTIVES, make_objective as make_objective
from .variational_autoencoder import EvidenceLowerBound as EvidenceLowerBound
