"""The secrets that open the daemon: the token, the metrics token, a browser's cookie, a link.

The cookie is no secret of its own that would have to be kept: it is an expiry signed with the
token (HMAC-SHA256, RFC 2104), so it outlives a restart and ends with the token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict

from orchestrator.home.clock import Clock

#: how long a browser stays logged in; a run takes weeks
SESSION_SECONDS = 30 * 86_400
#: how long a link of ``homerun web`` can be opened, once
CODE_SECONDS = 300.0
#: links that wait to be opened; more of them push the oldest out
MAX_CODES = 16


class Credentials:
    """Not thread-safe but for ``replace``: it lives in the server's event loop."""

    def __init__(self, token: str, metrics_token: str, clock: Clock) -> None:
        self._clock = clock
        #: digest of each code, and when (monotonic) it ends
        self._codes: OrderedDict[bytes, float] = OrderedDict()
        self.replace(token, metrics_token)

    def replace(self, token: str, metrics_token: str) -> None:
        """New tokens; what the old ones opened is closed from now on."""
        self._tokens = (token.encode(), metrics_token.encode())

    @property
    def required(self) -> bool:
        """Whether anybody is asked at all."""
        return bool(self._tokens[0])

    def opens_all(self, shown: bytes) -> bool:
        """Whether this is the token."""
        return bool(self._tokens[0]) and hmac.compare_digest(shown, self._tokens[0])

    def opens_metrics(self, shown: bytes) -> bool:
        """Whether this opens /metrics: the metrics token, or the token itself."""
        metrics = bool(self._tokens[1]) and hmac.compare_digest(shown, self._tokens[1])
        return self.opens_all(shown) or metrics

    # --- cookie -----------------------------------------------------------------------------

    def new_session(self) -> str:
        """A cookie's value, good for ``SESSION_SECONDS``."""
        expires = int(self._clock.now().timestamp()) + SESSION_SECONDS
        body = f"{expires}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._signature(body)}"

    def is_session(self, value: str) -> bool:
        """Whether we signed this value and it has not ended."""
        body, _, signature = value.rpartition(".")
        signed = hmac.compare_digest(signature.encode(), self._signature(body).encode())
        if not self.required or not signed:
            return False
        return int(body.partition(".")[0]) > self._clock.now().timestamp()

    def _signature(self, body: str) -> str:
        key = hmac.digest(self._tokens[0], b"homerun session", hashlib.sha256)
        return hmac.new(key, body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    # --- link -------------------------------------------------------------------------------

    def new_code(self) -> str:
        """A word that is exchanged for a cookie once, within ``CODE_SECONDS``."""
        code = secrets.token_urlsafe(24)
        self._codes[_digest(code)] = self._clock.monotonic() + CODE_SECONDS
        while len(self._codes) > MAX_CODES:
            self._codes.popitem(last=False)
        return code

    def redeem(self, code: str) -> bool:
        """Whether the word was good; it is not any more."""
        ends = self._codes.pop(_digest(code), None)
        return ends is not None and self._clock.monotonic() < ends


def _digest(code: str) -> bytes:
    # Looked up by digest, so the time of the look-up says nothing about the code.
    return hashlib.sha256(code.encode("utf-8", "replace")).digest()
