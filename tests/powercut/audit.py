"""The order in which a real save made its changes durable, judged call by call."""

from __future__ import annotations

from pathlib import Path

from tests.powercut.tracing import Call
from trainer.checkpoint.format import MANIFEST


def violations(calls: list[Call], checkpoints: Path) -> list[str]:
    """What is out of order in each commit below ``checkpoints``; an empty list for a sound one.

    A file's bytes are synced after the last of them was written; the manifest comes after all
    data is durable; the directory's names are synced before it gets its final name; the parent
    is synced after that and before anybody is told.
    """
    found = []
    commits = [
        (at, call.path)
        for at, call in enumerate(calls)
        if call.kind == "rename" and call.path.parent == checkpoints
        if call.path.name.startswith("tmp-")
    ]
    if not commits:
        return ["nothing was committed"]
    for at, temporary in commits:
        found += _before(calls[:at], temporary)
        found += _after(calls[at + 1 :], checkpoints, temporary.name)
    return found


def _before(calls: list[Call], temporary: Path) -> list[str]:
    """The calls up to the rename."""
    found = []
    files = [call.path for call in calls if call.kind == "create" and call.path.parent == temporary]
    durable = {}
    for path in files:
        changes = _places(calls, path, ("write", "truncate", "create"))
        syncs = [at for at in _places(calls, path, ("sync",)) if at > changes[-1]]
        if not syncs:
            found.append(f"{path.name} is renamed with bytes that nobody synced")
        durable[path] = syncs[0] if syncs else len(calls)
    manifest = temporary / MANIFEST
    if manifest not in durable:
        return [*found, "there is no manifest"]
    first_byte = _places(calls, manifest, ("write",))[0]
    found += [
        f"the manifest is written before {path.name} is durable"
        for path, at in durable.items()
        if path != manifest and at > first_byte
    ]
    names = max(_places(calls, path, ("create",))[0] for path in files)
    if not any(at > names for at in _places(calls, temporary, ("sync",))):
        found.append("the names in the temporary directory are not synced")
    return found


def _after(calls: list[Call], checkpoints: Path, name: str) -> list[str]:
    """The calls from the rename on."""
    for call in calls:
        if call.kind == "sync" and call.path == checkpoints:
            return []
        if call.kind == "mark":
            break
    return [f"somebody was told of {name} before the directory of checkpoints was synced"]


def _places(calls: list[Call], path: Path, kinds: tuple[str, ...]) -> list[int]:
    return [at for at, call in enumerate(calls) if call.path == path and call.kind in kinds]
