"""Text without what is nobody's business: secrets, names of machines and people, addresses. Pure.

Two nets, one behind the other: what is known to be secret here (the contents of every secret
file, the names of this machine and this user) goes wherever it stands; then what looks like a
secret goes, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote

#: shorter ones are words of every text
_SHORTEST_SECRET = 4
_PUBLIC_SCHEMES = ("http", "https", "ws", "wss")
_LOCAL = re.compile(r"^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$")
#: a token, but neither tokens, of which a run has many, nor a tokenizer
_ALONE = r"(?:access|auth|(?<![a-z]))_?token(?![a-z])"
_SECRET_WORDS = (
    rf"{_ALONE}|passw(?:or)?d|passphrase|secret|api[_-]?key|credential|authorization|cookie"
)
_SECRET_KEY = re.compile(rf"{_SECRET_WORDS}|^sample", re.IGNORECASE)
_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*)://([^\s\"'<>\\,)\]}]+|\[[0-9a-fA-F:]+\][^\s\"']*)")
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic|token)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (
        re.compile(
            rf"(?i)([\"']?\b[\w.-]*?(?:{_SECRET_WORDS})[\w.-]*[\"']?\s*[:=]\s*)"
            r"(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)"
        ),
        r"\1***",
    ),
    (re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"), "<mail>"),
    (re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b"), "<mac>"),
    (
        re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
        "<uuid>",
    ),
    # long and random: hexadecimal, or letters of both cases with digits among them
    (re.compile(r"\b[0-9a-fA-F]{32,}\b"), "***"),
    (
        re.compile(r"(?<![\w/+-])(?=[\w+-]*[a-z])(?=[\w+-]*[A-Z])(?=[\w+-]*\d)[\w+-]{24,}={0,2}"),
        "***",
    ),
    (re.compile(r"(?<=[\s\"'=(:])/(?:home|Users)/[^/\s\"',;:)]+"), "/home/<user>"),
    (re.compile(r"^/(?:home|Users)/[^/\s\"',;:)]+"), "/home/<user>"),
)
_IPV4 = re.compile(r"(?<![\w.])(?!127\.|0\.0\.0\.0)\d{1,3}(?:\.\d{1,3}){3}(?![\w.]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{1,4}:){2,7}(?::|[0-9a-fA-F]{1,4})[0-9a-fA-F:]*")
_CLOCK = re.compile(r"^\d{1,2}:\d{2}:\d{2}$")


class Redactor:
    """Redacts texts and JSON values.

    Args:
        secrets: replaced by ``***`` wherever they stand, also percent-encoded.
        hosts: names of machines, replaced by ``<host>``.
        home: a person's home directory, replaced by ``~``.
        users: names of people, replaced by ``<user>``.
    """

    def __init__(
        self,
        secrets: Iterable[str] = (),
        hosts: Iterable[str] = (),
        home: str = "",
        users: Iterable[str] = (),
    ) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._secrets = _any_of(forms, whole=False)
        self._hosts = _any_of((h for h in hosts if not _LOCAL.match(h)), whole=True)
        self._users = _any_of((u for u in users if u != "root"), whole=True)
        self._home = home.rstrip("/") if home.count("/") > 1 or home == "/root" else ""

    def text(self, text: str) -> str:
        """The text without them."""
        if self._secrets:
            text = self._secrets.sub("***", text)
        text = _URL.sub(_plain_url, text)
        if self._home:
            text = text.replace(self._home, "~")
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        if self._hosts:
            text = self._hosts.sub("<host>", text)
        if self._users:
            text = self._users.sub("<user>", text)
        text = _IPV4.sub("<address>", text)
        return _IPV6.sub(lambda found: found[0] if _is_time(found[0]) else "<address>", text)

    def value(self, value: Any) -> Any:
        """A JSON value without them; what stands under a key such as ``token`` goes whole."""
        if isinstance(value, dict):
            return {self.text(str(key)): self._under(str(key), item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def _under(self, key: str, value: Any) -> Any:
        # a path to a secret is none, and says whether one was configured
        if _SECRET_KEY.search(key) and not key.endswith("_file") and isinstance(value, str):
            return "***" if value else ""
        return self.value(value)


def _forms(secret: str) -> Iterable[str]:
    """A secret, and what a URL makes of it."""
    text = secret.strip()
    if len(text) < _SHORTEST_SECRET:
        return
    yield from (text, quote(text, safe=""), unquote(text))
    _, separator, rest = text.partition("://")
    if separator:
        # a log may quote a part of an address that is a secret as a whole
        yield from (part for part in re.split(r"[/:@?&=]", rest) if len(part) >= 6)
        yield rest


def _any_of(words: Iterable[str], *, whole: bool) -> re.Pattern[str] | None:
    """Matches any of the words, longer ones first."""
    found = sorted({word for word in words if len(word) >= 3}, key=lambda word: (-len(word), word))
    if not found:
        return None
    joined = "|".join(re.escape(word) for word in found)
    return re.compile(rf"(?<![\w-])(?:{joined})(?![\w-])" if whole else joined)


def _plain_url(found: re.Match[str]) -> str:
    """Scheme, and a local address with its path. Elsewhere the path may be a webhook's secret."""
    scheme, rest = found[1], found[2]
    if scheme in ("file", "sqlite"):
        return found[0]
    place, slash, path = rest.partition("/")
    place = place.rpartition("@")[2]
    if scheme in _PUBLIC_SCHEMES and _LOCAL.match(place):
        return f"{scheme}://{place}{slash}{path.partition('?')[0]}"
    return f"{scheme}://***"


def _is_time(text: str) -> bool:
    return _CLOCK.match(text.rstrip(":")) is not None
