"""What an Xid means, and whether the card must be found anew after it. Pure.

Source of numbers and words: NVIDIA's Xid catalog,
https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html, column "Resolution Bucket
(Immediate Action)". After RESET_GPU and RESTART_BM nothing can go on with the card as it is. After
RESTART_APP and IGNORE the card is well, and only whoever computed on it may have ended.
"""

from __future__ import annotations

from orchestrator.home.xid import XidEvent

#: the card is gone, or stays useless until it is reset
CARD = {
    46: "GPU stopped processing",
    48: "double bit ECC error",
    62: "internal micro-controller halt",
    64: "GPU memory remapping failure",
    79: "GPU has fallen off the bus",
    95: "uncontained memory error",
    110: "security fault error",
    119: "GSP RPC timeout",
    120: "GSP error",
    140: "unrecovered ECC error",
    143: "GPU initialization error",
    158: "GPU fatal timeout",
}

#: only told: what it did is seen by whether the trainer lives
TOLD = {
    8: "GPU stopped processing",
    11: "invalid or corrupted push buffer stream",
    13: "graphics engine exception",
    25: "invalid or illegal push buffer stream",
    31: "GPU memory page fault",
    32: "invalid or corrupted push buffer stream",
    39: "copy engine exception",
    40: "copy engine exception",
    41: "copy engine exception",
    43: "GPU stopped processing",
    44: "graphics engine fault during context switch",
    45: "preemptive cleanup of an application that ended or failed",
    54: "auxiliary power is not connected to the GPU board",
    63: "GPU memory remapping event",
    69: "graphics engine class error",
    # the catalog asks for a reset, but one card alone computes here: its links carry nothing
    74: "NVLink error",
    80: "corrupted data sent to GPU",
    92: "high single-bit ECC error rate",
    94: "contained memory error",
    # The catalog asks for a reset; NVIDIA's own k8s-device-plugin counts it among the errors of
    # applications, and games cause it: a driver that does not recover is noticed by its silence.
    109: "context switch timeout",
    141: "CUDA fast path error",
    154: "GPU recovery action changed",
}

#: comes after every application that was killed: never a cause beside another
_AFTERMATH = 45
#: 154 sums up what other Xids ask for; only its text says what
_SUMMARY = 154
_SUMMARY_ASKS = ("reset required", "reboot required")


def in_words(number: int) -> str:
    """As the journal has it."""
    words = CARD.get(number) or TOLD.get(number)
    return f"Xid {number}: {words}" if words else f"Xid {number}, which homerun does not know"


def loses_the_card(event: XidEvent) -> bool:
    """Whether nothing can go on with the card as it is now. Unknown ones lose nothing."""
    if event.number == _SUMMARY:
        return any(words in event.text.lower() for words in _SUMMARY_ASKS)
    return event.number in CARD


def culprit(numbers: list[int]) -> int | None:
    """Which of those near an end, oldest first, stands for it: the first that is no aftermath."""
    causes = [number for number in numbers if number != _AFTERMATH]
    return next(iter(causes or numbers), None)
