r"""`python -m benchmarks`: speed against the peers that are installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from speed import main

main()
