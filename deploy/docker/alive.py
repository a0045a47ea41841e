"""Exits 0 when the process of this container answers `/livez`: the containers' health check."""

import os
import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_S = 3

listen = urlsplit(os.environ["TMWS_LISTEN"])
port = os.environ.get("TMWS_API_PORT") or listen.port
connection = HTTPConnection("127.0.0.1", int(port or 80), timeout=TIMEOUT_S)
try:
    connection.request("GET", "/livez")
    status = connection.getresponse().status
except (OSError, HTTPException) as error:
    sys.exit(f"no answer: {error}")
sys.exit(0 if status == 200 else f"/livez answered {status}")
