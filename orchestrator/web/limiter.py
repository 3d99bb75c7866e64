"""How often an address may show a wrong secret: five times at once, then ever more slowly."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from orchestrator.home.clock import Clock

#: wrong ones that cost nothing: a person mistypes
FREE_FAILURES = 5
LONGEST_WAIT_SECONDS = 60.0
#: addresses remembered; the one that has been quiet for longest is forgotten first
MAX_ADDRESSES = 1024


@dataclass
class _Record:
    failures: int = 0
    not_before: float = 0.0


class Limiter:
    """Counts failures by ``place``; not thread-safe, it lives in the server's event loop."""

    def __init__(self, clock: Clock, max_addresses: int = MAX_ADDRESSES) -> None:
        self._clock = clock
        self._max_addresses = max_addresses
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def wait_seconds(self, place: str) -> float:
        """How long nothing is compared for this place any more; 0 for at once."""
        record = self._records.get(place)
        return max(0.0, record.not_before - self._clock.monotonic()) if record else 0.0

    def failed(self, place: str) -> None:
        """It showed a wrong one."""
        record = self._records.setdefault(place, _Record())
        self._records.move_to_end(place)
        while len(self._records) > self._max_addresses:
            self._records.popitem(last=False)
        record.failures += 1
        if record.failures >= FREE_FAILURES:
            # the power is bounded too: 2.0 ** 5000 would be an error
            doublings = min(record.failures - FREE_FAILURES, 16)
            wait = min(LONGEST_WAIT_SECONDS, 2.0**doublings)
            record.not_before = self._clock.monotonic() + wait

    def succeeded(self, place: str) -> None:
        """It showed the right one, so the wrong ones were mistakes."""
        self._records.pop(place, None)


def place_of(address: str) -> str:
    """The address as it is counted: of IPv6 the /64, which is what one household has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
