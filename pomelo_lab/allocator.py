"""Settings of the C library's allocator, so that a network's activations reuse the pages of the layer before.

By default glibc maps every block of more than 32 MB, and returns the top of its heap, so that each layer of a network
faults its activations in page by page. The kernel then takes up to a third of the processor's time.
"""

from __future__ import annotations

import ctypes
import os

MOST = 2**31 - 1  # mallopt takes a C int
PARAMETERS = {  # of mallopt(3), by the name of the environment variable that has the same meaning
    "MALLOC_MMAP_THRESHOLD_": (-3, MOST),  # smaller blocks come from the heap
    "MALLOC_TRIM_THRESHOLD_": (-1, MOST),  # the free top of the heap that the process keeps
    "MALLOC_TOP_PAD_": (-2, 64 * 2**20),  # bytes that the heap grows by in addition
}


def keep_pages() -> dict[str, int]:
    """Makes this process keep freed memory for its next blocks. A setting in the user's environment stays as it is.

    Nothing happens where the C library has no `mallopt`, as on macOS, Windows and musl.

    Returns: what was set, by the name of the environment variable.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return {}
    free = {name: setting for name, setting in PARAMETERS.items() if name not in os.environ}
    return {name: value for name, (parameter, value) in free.items() if mallopt(parameter, value)}
