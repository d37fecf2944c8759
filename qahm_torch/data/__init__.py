r"""Data sets as Lightning data modules, one file each, and what they are made of."""

from qahm_torch.data.bars_and_stripes import BarsAndStripes as BarsAndStripes
from qahm_torch.data.coding import (
    dequantize as dequantize,
    draw_spins as draw_spins,
    grid_rows as grid_rows,
    levels_of as levels_of,
    one_hot_spins as one_hot_spins,
)
from qahm_torch.data.color_patches import ColorPatches as ColorPatches
from qahm_torch.data.diabetes import Diabetes as Diabetes, hide_at_random as hide_at_random
from qahm_torch.data.hiding import hide_block as hide_block, hide_pixels as hide_pixels
from qahm_torch.data.image_folder import ImageFolder as ImageFolder
from qahm_torch.data.labels import hide_labels as hide_labels, repeat_known as repeat_known
from qahm_torch.data.loader import TensorLoader as TensorLoader
from qahm_torch.data.mixed_table import Column as Column, MixedTable as MixedTable
from qahm_torch.data.mnist8 import MNIST8 as MNIST8
from qahm_torch.data.mnist16 import MNIST16 as MNIST16
from qahm_torch.data.mnist28 import MNIST28 as MNIST28
from qahm_torch.data.optdigits import OptDigits as OptDigits
from qahm_torch.data.optdigits42 import OptDigits42 as OptDigits42
from qahm_torch.data.rotation import rotate as rotate
from qahm_torch.data.table_cells import cells_of as cells_of
from qahm_torch.data.table_data import TableData as TableData
from qahm_torch.data.tensor_data import TensorData as TensorData
from qahm_torch.data.tensor_module import (
    Splits as Splits,
    TensorDataModule as TensorDataModule,
    hold_out as hold_out,
)
