"""Hub: what a dataset on the Hugging Face Hub holds, and its bytes from any place on.

huggingface_hub finds the endpoint, the token and the files. It is not asked to download: its own
download begins every file anew in each process, and a home's line is cut more often than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from trainer.corpora.manifest import Facts

_TIMEOUT_SECONDS = 30.0
#: of these the same request may do better later
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class HubError(Exception):
    """The hub does not give what was asked for.

    ``passes`` says whether it may do so later, ``wait_seconds`` when the hub wants to be asked
    again, if it says so.
    """

    def __init__(self, message: str, *, passes: bool, wait_seconds: float = 0.0) -> None:
        self.message = message
        self.passes = passes
        self.wait_seconds = wait_seconds
        super().__init__(message)


@dataclass(frozen=True)
class Listing:
    """One revision of a repository."""

    revision: str
    #: by path; only those with a SHA-256, which are the large ones
    files: dict[str, Facts]


@dataclass(frozen=True)
class Body:
    """Bytes of a file."""

    #: where in the file they begin; 0 when the server does not know how to begin elsewhere
    start: int
    chunks: Iterator[bytes]


class Hub(Protocol):
    """Where datasets come from."""

    def list(self, repository: str, revision: str) -> Listing:
        """What a revision holds. Raises HubError."""

    def open(
        self, repository: str, revision: str, path: str, start: int
    ) -> AbstractContextManager[Body]:
        """A file's bytes from ``start`` on. Raises HubError, also while they come."""


class HuggingFaceHub:
    """huggingface.co, or what $HF_ENDPOINT names. A token, where there is one, is the library's."""

    def __init__(self, version: str, endpoint: str | None = None) -> None:
        self._version = version
        self._endpoint = endpoint

    def list(self, repository: str, revision: str) -> Listing:
        from huggingface_hub import HfApi, RepoFile

        api = HfApi(self._endpoint, library_name="homerun", library_version=self._version)
        with _in_words():
            commit = api.dataset_info(repository, revision=revision, timeout=_TIMEOUT_SECONDS).sha
            if not commit:
                raise HubError(f"{repository} has no commit {revision}", passes=False)
            entries = api.list_repo_tree(
                repository, revision=commit, repo_type="dataset", recursive=True
            )
            files = {
                entry.path: Facts(entry.lfs.size, entry.lfs.sha256)
                for entry in entries
                if isinstance(entry, RepoFile) and entry.lfs is not None
            }
        return Listing(commit, files)

    @contextmanager
    def open(self, repository: str, revision: str, path: str, start: int) -> Iterator[Body]:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined] # public, but not in __all__
            build_hf_headers,
            hf_raise_for_status,
        )

        url = hf_hub_url(
            repository, path, repo_type="dataset", revision=revision, endpoint=self._endpoint
        )
        headers = build_hf_headers(library_name="homerun", library_version=self._version)
        # else the bytes that come are not the bytes that are counted
        headers["Accept-Encoding"] = "identity"
        if start:
            headers["Range"] = f"bytes={start}-"
        with (
            _in_words(),
            get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_SECONDS) as response,
        ):
            hf_raise_for_status(response)
            begins = start if response.status_code == 206 else 0
            yield Body(begins, response.iter_raw())


@contextmanager
def _in_words() -> Iterator[None]:
    """What goes wrong on the line becomes a HubError."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise HubError("HF_HUB_OFFLINE forbids it", passes=False) from None
    except HfHubHTTPError as error:
        raise _answered(error.response) from None
    except httpx2.HTTPError as error:
        raise HubError(f"{type(error).__name__}: {error}".rstrip(": "), passes=True) from None


def _answered(response: Any) -> HubError:
    code = int(response.status_code)
    what = {
        401: "no such dataset, or it wants a login",
        403: "access is forbidden",
        404: "no such dataset or file",
        416: "the file is shorter than it was said to be",
        429: "too many requests",
    }.get(code, "")
    message = f"{response.request.url.host} answers {code}{f', {what}' if what else ''}"
    wait = response.headers.get("Retry-After", "")
    return HubError(
        message,
        passes=code in _PASSING or code == 416,
        wait_seconds=float(wait) if wait.isdecimal() else 0.0,
    )
