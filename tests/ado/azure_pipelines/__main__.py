"""Lets `python tests/ado/azure_pipelines ...` run the command line, wherever the folder is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # a folder that is run has itself there, and its modules would hide others

from azure_pipelines.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
