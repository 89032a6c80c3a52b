from __future__ import annotations

from emulator.core import Route

ROUTES: list[Route] = []
