r"""Measurements of trained models: likelihoods, chains, neighbors, figures."""

from qahm_torch.evaluation.column_panels import (
    ColumnPanel as ColumnPanel,
    column_histograms as column_histograms,
    correlation_scatter as correlation_scatter,
)
from qahm_torch.evaluation.completion import (
    Completion as Completion,
    CompletionError as CompletionError,
    complete as complete,
    completion_error as completion_error,
)
from qahm_torch.evaluation.conditional_gaussian import ConditionalGaussian as ConditionalGaussian
from qahm_torch.evaluation.diagnostics import (
    autocorrelation as autocorrelation,
    autocorrelation_time as autocorrelation_time,
    effective_sample_size as effective_sample_size,
    split_r_hat as split_r_hat,
)
from qahm_torch.evaluation.figures import (
    Interval as Interval,
    figure_pixels as figure_pixels,
    intervals as intervals,
    save_figure as save_figure,
)
from qahm_torch.evaluation.files import (
    atomic_write as atomic_write,
    json_text as json_text,
    write_csv as write_csv,
    write_json as write_json,
)
from qahm_torch.evaluation.gradient_direction import (
    GradientDirection as GradientDirection,
    GradientRule as GradientRule,
    corrected_moments as corrected_moments,
    gradient_direction as gradient_direction,
)
from qahm_torch.evaluation.imputation import Imputation as Imputation, impute as impute
from qahm_torch.evaluation.known_neighbors import (
    nearest_known_distance as nearest_known_distance,
)
from qahm_torch.evaluation.likelihood import (
    EvidenceBound as EvidenceBound,
    LogLikelihood as LogLikelihood,
    bits_per_dimension as bits_per_dimension,
    classification_accuracy as classification_accuracy,
    evidence_bound as evidence_bound,
    log_likelihood as log_likelihood,
    prior_log_likelihood as prior_log_likelihood,
    reconstruction_error as reconstruction_error,
)
from qahm_torch.evaluation.metric_curves import (
    learning_curves as learning_curves,
    read_metrics as read_metrics,
)
from qahm_torch.evaluation.neighbors import (
    NearestNeighbors as NearestNeighbors,
    nearest_neighbors as nearest_neighbors,
)
from qahm_torch.evaluation.pictures import (
    generated_and_nearest as generated_and_nearest,
    image_grid as image_grid,
)
from qahm_torch.evaluation.style import PALETTE as PALETTE, paper_style as paper_style
from qahm_torch.evaluation.watching import watched as watched
