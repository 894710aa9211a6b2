"""Whether the Hugging Face Hub can be reached, decided once and quickly.

Without this, every library retries for itself: on a machine without a network one model costs 46 seconds of waiting.
"""

from __future__ import annotations

import functools
import os
import sys
import threading

PROBE_SECONDS = 6.0


@functools.cache
def reachable() -> bool:
    """Ask the Hub once (at most `PROBE_SECONDS`); when it does not answer, put the libraries in offline mode.

    Call before importing transformers or datasets for a Hub access. In offline mode they still use their caches.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    answer: list[bool] = []
    # a thread, because name resolution has no time-out of its own
    thread = threading.Thread(target=lambda: answer.append(_ask()), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if answer and answer[0]:
        return True
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    return False


def _ask() -> bool:
    import urllib.error
    import urllib.request

    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/") + "/api/models?limit=1"
    try:
        urllib.request.urlopen(url, timeout=PROBE_SECONDS)
    except urllib.error.HTTPError:
        return True  # it answered
    except Exception:  # noqa: BLE001 - whatever went wrong, there is no Hub to talk to
        return False
    return True
