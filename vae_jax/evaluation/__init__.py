"""Figures of a trained model, each with its error."""

from .evidence import DatasetEvidence as DatasetEvidence
from .evidence import LogEvidence as LogEvidence
from .evidence import dataset_evidence as dataset_evidence
from .evidence import log_evidence as log_evidence
from .gradients import BlockStatistics as BlockStatistics
from .gradients import GradientReport as GradientReport
from .gradients import gradient_report as gradient_report
