"""What losing an instance, a zone, a region and Seakeep itself costs, each over a full minute.

Runs the demo of examples/shop with --full: real processes, real Envoys, 200 requests/s. About
seven minutes. The peer is the same system before the fault: what fails without one is nothing.

    python benchmarks/events.py [--json FILE]
"""

import subprocess
import sys
from pathlib import Path

SHOP = Path(__file__).resolve().parent.parent / "examples" / "shop"


def main() -> int:
    arguments = [sys.executable, "-m", "demo", "--full", *sys.argv[1:]]
    return subprocess.run(arguments, cwd=SHOP, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
