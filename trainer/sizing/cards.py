"""Consumer GPUs: dense matmul peaks, memory, bandwidth, board power.

Sources. Cores, boost clocks, memory and power: NVIDIA's product pages of the GeForce RTX 30, 40
and 50 series (laptop cards: at the highest power they are sold with). Rates per core and clock:
NVIDIA's architecture papers of GA102, AD102 and GB202; the RTX 4070's row agrees with
IST-DASLab/llmq's speed-of-light table for the 4090, scaled by SMs and clock. PCIe lanes: the same
product pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GIB = 1 << 30
#: the driver and its display engine keep this much of a card without a monitor: 12,282 MiB
#: are reported of 12 GiB, about 11.7 GiB can be had
_DRIVER_BYTES = int(0.3 * _GIB)
#: what a Linux desktop with a browser takes besides
_DESKTOP_BYTES = int(0.5 * _GIB)
#: on a laptop the processor's own graphics draws most of the desktop
_LAPTOP_DESKTOP_BYTES = int(0.4 * _GIB)


@dataclass(frozen=True)
class Card:
    """A GPU. Peaks are FLOP/s without sparsity at its reference boost clock."""

    name: str
    #: bf16 inputs, fp32 accumulation
    bf16_flops: float
    #: plain fp32, without TF32
    fp32_flops: float
    #: int8 inputs, int32 accumulation
    int8_flops: float
    #: fp8 inputs, fp32 accumulation; 0 where the card has none
    fp8_flops: float
    memory_bytes: int
    bandwidth_bytes_per_second: float
    #: default power limit of the board
    watts: float
    pcie_bytes_per_second: float
    laptop: bool = False

    @property
    def headless_bytes(self) -> int:
        """What a process can allocate on a card that draws no desktop."""
        return self.memory_bytes - _DRIVER_BYTES

    @property
    def desktop_bytes(self) -> int:
        """What is left beside a desktop."""
        return self.headless_bytes - (_LAPTOP_DESKTOP_BYTES if self.laptop else _DESKTOP_BYTES)


def _geforce(
    name: str, cores: int, boost_mhz: int, gib: int, gb_per_second: int, watts: int
) -> Card:
    """GeForce from Ampere to Blackwell: 2 fp32 FLOP per core and cycle, twice that in bf16.

    Their tensor cores run at half rate when they accumulate in fp32, as training does; int8
    runs at 4x the bf16 rate, fp8 (from Ada on) at 2x.
    """
    fp32_flops = 2.0 * cores * boost_mhz * 1e6
    ampere = name.startswith("RTX 30")
    narrow = re.match(r"RTX (40[567]0 Laptop|4060|50[56]0)", name) is not None
    #: pinned memory moves at about 80 % of the link; PCIe 4.0 has 2 GB/s a lane and direction
    pcie = 0.8 * (8 if narrow else 16) * 2e9
    return Card(
        name,
        bf16_flops=2 * fp32_flops,
        fp32_flops=fp32_flops,
        int8_flops=8 * fp32_flops,
        fp8_flops=0.0 if ampere else 4 * fp32_flops,
        memory_bytes=gib * _GIB,
        bandwidth_bytes_per_second=gb_per_second * 1e9,
        watts=float(watts),
        pcie_bytes_per_second=pcie,
        laptop="Laptop" in name,
    )


#: by the name that the driver reports, without its maker's prefix
CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        _geforce("RTX 3060", 3584, 1777, 12, 360, 170),
        _geforce("RTX 3060 Ti", 4864, 1665, 8, 448, 200),
        _geforce("RTX 3070", 5888, 1725, 8, 448, 220),
        _geforce("RTX 3070 Ti", 6144, 1770, 8, 608, 290),
        _geforce("RTX 3080", 8704, 1710, 10, 760, 320),
        _geforce("RTX 3080 Ti", 10_240, 1665, 12, 912, 350),
        _geforce("RTX 3090", 10_496, 1695, 24, 936, 350),
        _geforce("RTX 3090 Ti", 10_752, 1860, 24, 1008, 450),
        _geforce("RTX 4060", 3072, 2460, 8, 272, 115),
        _geforce("RTX 4060 Ti", 4352, 2535, 8, 288, 160),
        _geforce("RTX 4060 Ti 16GB", 4352, 2535, 16, 288, 165),
        _geforce("RTX 4070", 5888, 2475, 12, 504, 200),
        _geforce("RTX 4070 SUPER", 7168, 2475, 12, 504, 220),
        _geforce("RTX 4070 Ti", 7680, 2610, 12, 504, 285),
        _geforce("RTX 4070 Ti SUPER", 8448, 2610, 16, 672, 285),
        _geforce("RTX 4080", 9728, 2505, 16, 717, 320),
        _geforce("RTX 4080 SUPER", 10_240, 2550, 16, 736, 320),
        _geforce("RTX 4090", 16_384, 2520, 24, 1008, 450),
        _geforce("RTX 5060", 3840, 2497, 8, 448, 145),
        _geforce("RTX 5060 Ti", 4608, 2572, 8, 448, 180),
        _geforce("RTX 5060 Ti 16GB", 4608, 2572, 16, 448, 180),
        _geforce("RTX 5070", 6144, 2512, 12, 672, 250),
        _geforce("RTX 5070 Ti", 8960, 2452, 16, 896, 300),
        _geforce("RTX 5080", 10_752, 2617, 16, 960, 360),
        _geforce("RTX 5090", 21_760, 2407, 32, 1792, 575),
        _geforce("RTX 4060 Laptop", 3072, 2370, 8, 256, 115),
        _geforce("RTX 4070 Laptop", 4608, 2175, 8, 256, 115),
        _geforce("RTX 4080 Laptop", 7424, 2280, 12, 432, 150),
        _geforce("RTX 4090 Laptop", 9728, 2040, 16, 576, 150),
    )
}

_PREFIX = re.compile(r"^(nvidia\s+)?(geforce\s+)?", re.IGNORECASE)


def card_named(device_name: str) -> Card | None:
    """The card that a driver calls ``device_name``; None for one whose peak we do not know.

    Only the whole name counts: a laptop's card shares the desktop card's name, not its speed,
    and how fast it is depends on the power that the laptop's maker gave it.
    """
    wanted = _PREFIX.sub("", device_name.strip()).casefold()
    desktop = (card for card in CARDS.values() if not card.laptop)
    return next((card for card in desktop if card.name.casefold() == wanted), None)


def card_wanted(text: str) -> Card | None:
    """The card that a person writes as ``rtx4070``, ``4070 Ti SUPER`` or ``RTX 4070 Laptop GPU``.

    None when there is none of that name.
    """
    wanted = _squeezed(text)
    return next((card for card in CARDS.values() if _squeezed(card.name) == wanted), None)


def _squeezed(name: str) -> str:
    letters = re.sub(r"[^a-z0-9]", "", name.casefold())
    return re.sub(r"^(nvidia)?(geforce)?(rtx)?", "", letters).removesuffix("gpu")
