"""Event loops to run a test on: processes run on uvloop, tests on asyncio's own unless they say otherwise."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import uvloop

LoopFactories = Mapping[str, Callable[[], Any]]
ASYNCIO: LoopFactories = {"asyncio": asyncio.new_event_loop}
BOTH: LoopFactories = {**ASYNCIO, "uvloop": uvloop.new_event_loop}
