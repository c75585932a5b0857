"""Figures of a trained model, each with its error."""

from .annealing import AnnealedEvidence as AnnealedEvidence
from .annealing import BidirectionalEvidence as BidirectionalEvidence
from .annealing import annealed_log_evidence as annealed_log_evidence
from .annealing import bidirectional_log_evidence as bidirectional_log_evidence
from .collapse import CollapseDiagnosis as CollapseDiagnosis
from .collapse import diagnose_collapse as diagnose_collapse
from .collapse import ppca_active_dimensions as ppca_active_dimensions
from .evidence import DatasetEvidence as DatasetEvidence
from .evidence import LogEvidence as LogEvidence
from .evidence import bound_sizes as bound_sizes
from .evidence import dataset_evidence as dataset_evidence
from .evidence import log_evidence as log_evidence
from .evidence import mean_and_error as mean_and_error
from .gaps import InferenceGaps as InferenceGaps
from .gaps import inference_gaps as inference_gaps
from .gradients import BlockStatistics as BlockStatistics
from .gradients import GradientReport as GradientReport
from .gradients import gradient_report as gradient_report
from .information import InformationEstimate as InformationEstimate
from .latents import LatentStatistics as LatentStatistics
from .latents import latent_statistics as latent_statistics
from .pareto import pareto_k as pareto_k
from .pareto import pareto_k_threshold as pareto_k_threshold
from .probe import LinearProbe as LinearProbe
from .probe import linear_probe as linear_probe
