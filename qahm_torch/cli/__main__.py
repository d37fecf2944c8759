import sys

from qahm_torch.cli import main

sys.exit(main())
