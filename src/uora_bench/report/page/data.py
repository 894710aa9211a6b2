"""The data inside the page: floats to six significant digits, compressed.

Records repeat each other, so compression saves much; the script decompresses with the browser's own functions.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from typing import Any


def plain(value: Any) -> Any:
    """``value`` as what JSON can say, floats with six significant digits; NaN and infinities become text."""
    if type(value) is str or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value)


def packed(value: Any) -> str:
    """``value`` made `plain`, as JSON, compressed, in characters that may stand inside a script element.

    The same for the same value.
    """
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")
