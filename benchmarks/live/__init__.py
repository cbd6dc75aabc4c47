"""What the scripts of the live rig share. Without the extra `live` they end with one sentence."""

import sys
from importlib.util import find_spec

from recsys_posttrain.live.cli import EXTRA, MISSING

if missing := [name for name in EXTRA if find_spec(name) is None]:
    print(f"error: benchmarks/live needs {missing[0]}{MISSING}", file=sys.stderr)
    sys.exit(2)
