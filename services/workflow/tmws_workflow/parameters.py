"""What the routes of workflows take from a request alike: scopes, the cursor."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from tmws_shared.auth import NeedsScope, Principal

CanRead = Annotated[Principal, Depends(NeedsScope("workflow:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("workflow:write"))]
CanRun = Annotated[Principal, Depends(NeedsScope("workflow:run"))]
