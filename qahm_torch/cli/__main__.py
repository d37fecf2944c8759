r"""`python -m qahm_torch.cli` is `qahm`."""

import sys

from qahm_torch.cli import main

sys.exit(main())
