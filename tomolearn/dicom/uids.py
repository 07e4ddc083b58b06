"""UIDs made from other values, by hashing: the same values give the same UID."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any


def derived_uid(*parts: Any) -> str:
    """Return an identifier that depends on all `parts` and on nothing else.

    It is a name-based UUID written as PS3.5 B.2 wants it, ``2.25.`` and up to 39 digits, of the
    SHA-256 sum of the parts, which are what JSON can write.
    """
    text = json.dumps(["tomolearn", *parts], sort_keys=True, allow_nan=False)
    return _uid(hashlib.sha256(text.encode()).digest())


def keyed_uid(key: str, uid: str) -> str:
    """Return the identifier that replaces another one under a secret.

    Without the secret nobody can tell which one it replaces, not even by trying those he knows.
    """
    return _uid(hmac.digest(key.encode(), b"uid:" + uid.encode(), "sha256"))


def _uid(digest: bytes) -> str:
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
