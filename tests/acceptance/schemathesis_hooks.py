"""What schemathesis has to be told before it can try the document; it loads this file itself.

Files of any kind are sent as bytes, right or wrong.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-tar")
def as_bytes(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """Send what was made up for a file."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
