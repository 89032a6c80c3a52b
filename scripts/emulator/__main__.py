"""``python scripts/emulator VERB``."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from emulator.cli import main  # noqa: E402

sys.exit(main())
