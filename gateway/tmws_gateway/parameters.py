"""What the gateway's own routes take besides what the request says."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from tmws_gateway.exchange import exchange_of
from tmws_gateway.parts import Parts
from tmws_shared.auth import Principal


async def _parts(request: Request) -> Parts:
    return request.state.parts


async def _caller(request: Request) -> Principal:
    return request.state.principal


async def _address(request: Request) -> str:
    return exchange_of(request.scope).address


OurParts = Annotated[Parts, Depends(_parts)]
Caller = Annotated[Principal, Depends(_caller)]
Address = Annotated[str, Depends(_address)]
