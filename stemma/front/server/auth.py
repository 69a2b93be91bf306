"""Who may call what: an API key for everyone, an admin key for the management routes."""

import hmac
from typing import Literal

from starlette.datastructures import Headers

Access = Literal["open", "normal", "admin"]


class Keys:
    """The keys of this server. A route is `open`, or needs the key that its kind asks for."""

    def __init__(self, api_key: str | None, admin_api_key: str | None):
        self._wanted: dict[Access, str | None] = {
            "open": None,
            "normal": api_key,
            "admin": admin_api_key if admin_api_key is not None else api_key,
        }

    def admit(self, access: Access, headers: Headers) -> bool:
        wanted = self._wanted[access]
        if wanted is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Headers are decoded as latin-1, keys are UTF-8: compared as bytes, and in constant time.
        is_same = hmac.compare_digest(given.strip().encode("latin-1"), wanted.encode())
        return is_same and scheme.lower() == "bearer"
