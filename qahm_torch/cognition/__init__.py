r"""Human judgments that look quantum: their counts, models of them, and how these are compared."""

from qahm_torch.cognition.cell_model import CellModel as CellModel, Fit as Fit, fit as fit
from qahm_torch.cognition.criteria import aic as aic, bic as bic, deviance as deviance
from qahm_torch.cognition.gamble_models import (
    gamble_models as gamble_models,
    interference_cells as interference_cells,
)
from qahm_torch.cognition.order_models import (
    order_models as order_models,
    qubit_cells as qubit_cells,
)
from qahm_torch.cognition.quantum_question import (
    QuantumQuestion as QuantumQuestion,
    quantum_question as quantum_question,
)
from qahm_torch.cognition.resampling import resample as resample
from qahm_torch.cognition.studies import (
    GAMBLES as GAMBLES,
    QUESTION_ORDERS as QUESTION_ORDERS,
    Gamble as Gamble,
    QuestionOrder as QuestionOrder,
)
