"""Numba: functions compiled for the steps, and its cache on disk."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

log = logging.getLogger(__name__)

_COMPILED: list[Any] = []


def with_sound_cache(call: Callable[[], object]) -> None:
    """Call compiled functions; if Numba's cache is damaged, empty it, say so, and call again.

    Code is loaded before it runs, so a call that fails this way has changed nothing.
    """
    try:
        call()
    except Exception as error:
        if not _is_of_cache(error):
            raise
        log.warning("compiled code on disk: damaged; compiling anew")
        for function in _COMPILED:
            function._cache.flush()
        call()


def _is_of_cache(error: BaseException) -> bool:
    """Whether Numba raised an error while it read its cache: of a file that is empty, cut or mixed up."""
    return any(
        Path(frame.filename).parts[-3:] == ("numba", "core", "caching.py")
        for frame in traceback.extract_tb(error.__traceback__)
    )


def compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """The function compiled, and cached on disk if there is a writable place."""
    # Vector instructions need sums in any order, and no test for divisions by 0. Infinity and NaN keep
    # their meaning.
    fastmath = {"reassoc", "contract", "nsz"}
    options: dict[str, Any] = {"fastmath": fastmath, "error_model": "numpy", "nogil": True}
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the source nor in the user's folder
        dispatcher = numba.njit(**options)(function)
    _COMPILED.append(dispatcher)
    return dispatcher
