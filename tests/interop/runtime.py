"""Serves the runtime of the official Python SDK, with agents for the cases, until standard input ends.

    runtime.py ws       prints its URL, then serves WebSockets on a free port of this machine
    runtime.py stdio    serves one client on its standard streams

ARCP_TOKENS is a JSON object: token to principal.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys

from arcp import ARCPError, PermissionDeniedError, RuntimeInfo, StdioTransport, serve_websocket
from arcp.runtime import ARCPRuntime, StaticBearerVerifier


async def echo(value, job):
    return value


async def count(value, job):
    """Counts to `to`, `delay_ms` apart."""
    for number in range(1, value["to"] + 1):
        await job.progress(number, total=value["to"], units="numbers")
        await asyncio.sleep(value.get("delay_ms", 0) / 1000)
    return value["to"]


async def talk(value, job):
    """An event of every kind an agent can send."""
    await job.log("warn", "look", {"line": 7})
    await job.thought("hm")
    await job.tool_call({"tool_call_id": "c1", "name": "search.web", "arguments": {"q": "arcp"}})
    await job.tool_result({"tool_call_id": "c1", "output": {"hits": 3}})
    await job.tool_result({"tool_call_id": "c2", "error": {"code": "TIMEOUT", "message": "late", "retryable": True}})
    await job.status("thinking", "about it")
    await job.metric({"name": "words", "value": 12, "unit": "words", "attributes": {"section": "1"}})
    await job.job.emit_event(
        "artifact_ref", {"artifact_id": "a1", "media_type": "text/plain", "size_bytes": 5, "uri": "file:///a1"}
    )
    await job.progress(1)
    await job.job.emit_event("x-vendor.interop.note", {"n": 1})
    return None


async def text(value, job):
    """A streamed result of text."""
    async with job.stream_result() as stream:
        for piece in value:
            await stream.write(piece)


async def binary(value, job):
    """A streamed result of bytes."""
    async with job.stream_result() as stream:
        for piece in value:
            await stream.write(bytes(piece))


async def fail(value, job):
    raise PermissionDeniedError("not this one") if value == "denied" else ValueError("broken")


async def exit(value, job):
    os._exit(0)


async def call(value, job):
    """Calls tools by name, each for 0.4 USD, and tells what came of each."""
    for number, tool in enumerate(value):
        await job.tool_call({"tool_call_id": f"c{number}", "name": tool, "arguments": {}})
        try:
            job.authorize("tool.call", tool)
        except ARCPError as error:
            await job.tool_result({"tool_call_id": f"c{number}", "error": error.to_payload()})
            continue
        await job.tool_result({"tool_call_id": f"c{number}", "output": None})
        await job.metric({"name": "cost.call", "value": "0.4", "unit": "USD"})
    return len(value)


def runtime():
    built = ARCPRuntime(
        runtime=RuntimeInfo(name="python", version="1.1.3"),
        bearer=StaticBearerVerifier(json.loads(os.environ["ARCP_TOKENS"])),
    )
    for agent in (echo, count, talk, text, binary, fail, exit, call):
        built.register_agent_version(agent.__name__, "1.0.0", agent)
    built.register_agent_version("echo", "2.0.0", echo)
    return built


async def websockets():
    server = await serve_websocket(runtime().accept, host="127.0.0.1", port=0)
    print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/arcp", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


async def standard_streams():
    # What the SDK closes standard streams with knows no waiting for the end; the process ends anyway.
    with contextlib.suppress(NotImplementedError):
        await runtime().accept(await StdioTransport.from_std_streams())


# Agents that fail are told of on standard error, which is the tests' own.
logging.disable()
asyncio.run({"ws": websockets, "stdio": standard_streams}[sys.argv[1]]())
