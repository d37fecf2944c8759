r"""`python -m benchmarks`: speed against the peers that are installed, part after part."""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# Sweeps against other samplers; log Z, modes and transverse fields; the whole update.
PARTS = ("speed", "inference", "step_cost")

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("parts", nargs="*", help=f"Some of {', '.join(PARTS)}; all by default.")
chosen = parser.parse_args().parts or PARTS
for part in chosen:
    if part not in PARTS:
        parser.error(f"no part {part!r}; there are {', '.join(PARTS)}")
for part in chosen:
    importlib.import_module(part).main([])
