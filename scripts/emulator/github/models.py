from __future__ import annotations
from typing import TYPE_CHECKING, Any
from emulator.entra.signing import signing_key

if TYPE_CHECKING:
    from emulator.core import Cloud
ISSUER = "https://token.actions.githubusercontent.com"


def jwks(cloud: Cloud) -> dict[str, Any]:
    return {"keys": [signing_key(cloud, "github").jwk()]}
