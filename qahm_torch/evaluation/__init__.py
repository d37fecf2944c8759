r"""Measurements of trained models: likelihoods, brackets of log Z, chains, neighbors, figures."""

from qahm_torch.evaluation.diagnostics import (
    autocorrelation,
    autocorrelation_time,
    effective_sample_size,
    split_r_hat,
)
from qahm_torch.evaluation.figures import (
    generated_and_nearest,
    image_grid,
    intervals,
    learning_curves,
    read_metrics,
    save_figure,
)
from qahm_torch.evaluation.files import atomic_write, write_json
from qahm_torch.evaluation.likelihood import (
    LogLikelihood,
    bits_per_dimension,
    classification_accuracy,
    log_likelihood,
    reconstruction_error,
)
from qahm_torch.evaluation.neighbors import NearestNeighbors, nearest_neighbors
from qahm_torch.samplers.log_z import LogZ, annealed_log_z, estimate_log_z, exact_log_z

__all__ = [
    "LogLikelihood",
    "LogZ",
    "NearestNeighbors",
    "annealed_log_z",
    "atomic_write",
    "autocorrelation",
    "autocorrelation_time",
    "bits_per_dimension",
    "classification_accuracy",
    "effective_sample_size",
    "estimate_log_z",
    "exact_log_z",
    "generated_and_nearest",
    "image_grid",
    "intervals",
    "learning_curves",
    "log_likelihood",
    "nearest_neighbors",
    "read_metrics",
    "reconstruction_error",
    "save_figure",
    "split_r_hat",
    "write_json",
]
