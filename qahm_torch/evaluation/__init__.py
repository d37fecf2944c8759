r"""Measurements of trained models: likelihoods, chains, neighbors, figures."""

from qahm_torch.evaluation.diagnostics import autocorrelation as autocorrelation
from qahm_torch.evaluation.diagnostics import autocorrelation_time as autocorrelation_time
from qahm_torch.evaluation.diagnostics import effective_sample_size as effective_sample_size
from qahm_torch.evaluation.diagnostics import split_r_hat as split_r_hat
from qahm_torch.evaluation.figures import Interval as Interval
from qahm_torch.evaluation.figures import intervals as intervals
from qahm_torch.evaluation.figures import learning_curves as learning_curves
from qahm_torch.evaluation.figures import read_metrics as read_metrics
from qahm_torch.evaluation.figures import save_figure as save_figure
from qahm_torch.evaluation.files import atomic_write as atomic_write
from qahm_torch.evaluation.files import write_json as write_json
from qahm_torch.evaluation.likelihood import LogLikelihood as LogLikelihood
from qahm_torch.evaluation.likelihood import bits_per_dimension as bits_per_dimension
from qahm_torch.evaluation.likelihood import classification_accuracy as classification_accuracy
from qahm_torch.evaluation.likelihood import log_likelihood as log_likelihood
from qahm_torch.evaluation.likelihood import reconstruction_error as reconstruction_error
from qahm_torch.evaluation.neighbors import NearestNeighbors as NearestNeighbors
from qahm_torch.evaluation.neighbors import nearest_neighbors as nearest_neighbors
from qahm_torch.evaluation.pictures import generated_and_nearest as generated_and_nearest
from qahm_torch.evaluation.pictures import image_grid as image_grid
