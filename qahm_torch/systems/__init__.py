r"""The systems of the source paper, each composed of the parts of this package and measured."""

from qahm_torch.systems.cases import reproduce as reproduce
from qahm_torch.systems.circuits import Circuits as Circuits
from qahm_torch.systems.cognition import Cognition as Cognition
from qahm_torch.systems.deep_belief import DeepBelief as DeepBelief
from qahm_torch.systems.gradient_proxy import GradientProxy as GradientProxy
from qahm_torch.systems.gray_box import GrayBox as GrayBox
from qahm_torch.systems.quale import QuALe as QuALe
from qahm_torch.systems.quantum_gibbs import QuantumGibbs as QuantumGibbs
from qahm_torch.systems.quantum_recognition import QuantumRecognition as QuantumRecognition
from qahm_torch.systems.quantum_ring import QuantumRing as QuantumRing
from qahm_torch.systems.seeds import Seeds as Seeds
from qahm_torch.systems.semi_quantum_units import SemiQuantumUnits as SemiQuantumUnits
from qahm_torch.systems.system import System as System
from qahm_torch.systems.tables import MixedTables as MixedTables
from qahm_torch.systems.transfer import Transfer as Transfer
