"""The embedding service."""

import os

# ONNX Runtime's wheel reports its use to its maker unless told not to, before it is loaded. Nothing here calls home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
