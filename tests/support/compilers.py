"""The operator's compiler at work, without the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from kubebpf.operator.compiling import Compiler


async def beside(compiler: Compiler, work: Awaitable[None]) -> None:
    """Do the work while the compiler runs; its process is ended afterwards."""
    task = asyncio.create_task(compiler.run())
    try:
        await work
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
