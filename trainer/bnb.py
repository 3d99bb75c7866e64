"""bitsandbytes: imported only by recipes that need it, for it takes seconds."""

from __future__ import annotations

import functools
import logging
from typing import Any


@functools.cache
def functional() -> Any:
    """Its primitives; half of them have types, half have none."""
    # it complains on every CPU about a kernel for 4-bit inference, which nobody here uses
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import bitsandbytes.functional

    return bitsandbytes.functional
