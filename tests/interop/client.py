"""Plays one case with the client of the official Python SDK and prints what it saw as one line of JSON.

    client.py CASE

ARCP_URL (ws://...) or ARCP_COMMAND (a JSON list: a program that serves on its standard streams) says where the runtime
is, ARCP_TOKEN who asks. What is judged is judged by the caller; a case here only plays and tells.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta

from arcp import (
    ARCPError,
    ClientInfo,
    LeaseConstraints,
    ListJobsFilter,
    SessionResume,
    StdioTransport,
    WebSocketTransport,
)
from arcp.client import ARCPClient

PATIENCE = 80.0
FOREVER = {"to": 100_000, "delay_ms": 20}


class Recorder:
    """The SDK's transport, and every frame that came through it."""

    def __init__(self, transport, *, yields=False):
        self.transport = transport
        self.yields = yields
        self.frames = []
        self.heard = asyncio.Event()

    async def send(self, envelope):
        await self.transport.send(envelope)

    async def recv(self):
        if self.yields:
            await asyncio.sleep(0)
        frame = await self.transport.recv()
        self.frames.append(frame)
        self.heard.set()
        return frame

    async def close(self):
        await self.transport.close()

    @property
    def is_closed(self):
        return self.transport.is_closed

    async def until(self, wanted):
        """The first frame, received or still to come, that is wanted."""
        while True:
            for frame in self.frames:
                if wanted(frame):
                    return frame
            self.heard.clear()
            await self.heard.wait()

    def numbers(self):
        return [frame["event_seq"] for frame in self.frames if "event_seq" in frame]

    def types(self):
        return [frame["type"] for frame in self.frames]


class Peer:
    """The runtime under test. Over stdio every connection is a process of its own."""

    def __init__(self):
        self.children = []

    async def transport(self, **options):
        if "ARCP_URL" in os.environ:
            return Recorder(await WebSocketTransport.connect(os.environ["ARCP_URL"], proxy=None), **options)
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *json.loads(os.environ["ARCP_COMMAND"]), stdin=pipe, stdout=pipe
        )
        self.children.append(child)
        return Recorder(await StdioTransport.from_process_pipes(child), **options)

    async def open(self, *, resume=None, **options):
        client = ARCPClient(
            client=ClientInfo(name="interop", version="1.0.0"),
            token=os.environ["ARCP_TOKEN"],
            handshake_timeout_sec=PATIENCE,
        )
        wire = await self.transport(**options)
        if resume is None:
            await client.connect(wire)
        else:
            await client.resume(wire, resume=resume)
        return client, wire

    async def end(self):
        for child in self.children:
            if child.returncode is None:
                child.stdin.close()
            await child.wait()


def told(error):
    return {"error": error.code, "message": error.message, "retryable": error.retryable, "details": error.details}


def plain(message):
    return message.model_dump(mode="json", exclude_none=True)


async def attempt(awaitable):
    """The message it returns, or the error it raises."""
    try:
        return plain(await awaitable)
    except ARCPError as error:
        return told(error)


async def job(client, **submit):
    """A job from its submit to its end."""
    handle = await client.submit(**submit)
    events = [event async for event in handle.events()]
    return {"job_id": handle.job_id, "events": events, "end": await attempt(handle.done)}


async def connect(peer):
    client, wire = await peer.open()
    welcome = plain(client.welcome)
    welcome["resume_token"] = len(welcome["resume_token"])
    await client.close()
    refused = ARCPClient(client=ClientInfo(name="interop", version="1.0.0"), token="nobody's")
    return {
        "negotiated": client.negotiated_features,
        "welcome": welcome,
        "refused": await attempt(refused.connect(await peer.transport())),
    }


async def submit(peer):
    client, _ = await peer.open()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    handle = await client.submit(agent="echo", input={"n": 1, "text": "é"}, trace_id=trace)
    facts = {"accepted": plain(handle.accepted), "trace": trace}
    facts["end"] = await attempt(handle.done)
    await client.close()
    return facts


async def events(peer):
    client, wire = await peer.open()
    report = await job(client, agent="report@1.0.0", input={"sections": 3})
    await client.ack(client.latest_event_seq)
    echo = await job(client, agent="echo", input=[])
    await client.close()
    return {"report": report, "echo": echo, "numbers": wire.numbers()}


async def result(peer):
    client, _ = await peer.open()
    facts = {
        "value": (await job(client, agent="echo", input={"list": [1, 2.5, None]}))["end"],
        "null": (await job(client, agent="echo", input=None))["end"],
        "failed": (await job(client, agent="fail", input={"message": "no", "code": "PERMISSION_DENIED"}))["end"],
        "timed_out": (await job(client, agent="count", input=FOREVER, max_runtime_sec=1))["end"],
    }
    await client.close()
    return facts


async def cancel(peer):
    client, wire = await peer.open()
    handle = await client.submit(agent="count", input=FOREVER)
    await anext(handle.events())
    await client.cancel_job(handle.job_id, reason="enough")
    facts = {"end": await attempt(handle.done), "types": sorted(set(wire.types()))}
    await client.cancel_job(handle.job_id, reason="again")
    await client.cancel_job("job_00000000000000000000000000", reason="nobody's")
    facts["after"] = (await job(client, agent="echo", input="still there"))["end"]
    await client.close()
    return facts


async def list_jobs(peer):
    client, _ = await peer.open()
    finished = await job(client, agent="echo", input=1)
    running = await client.submit(agent="count", input=FOREVER)
    await anext(running.events())
    first = await client.list_jobs(limit=1)
    facts = {
        "finished": finished["job_id"],
        "running": running.job_id,
        "all": await attempt(client.list_jobs()),
        "by_status": await attempt(client.list_jobs(filter=ListJobsFilter(status=("running",)))),
        "by_agent": await attempt(client.list_jobs(filter=ListJobsFilter(agent="echo@1.0.0"))),
        "pages": [
            plain(first),
            await attempt(client.list_jobs(limit=1, cursor=first.next_cursor)),
        ],
    }
    await client.cancel_job(running.job_id)
    await attempt(running.done)
    await client.close()
    return facts


async def subscribe(peer):
    """Over stdio, where nobody else can connect, the session subscribes to its own job."""
    owner, _ = await peer.open()
    watcher, wire = (owner, None) if peer.children else await peer.open()
    handle = await owner.submit(agent="count", input=FOREVER)
    await anext(handle.events())
    watch = await watcher.subscribe(handle.job_id)
    news = [await anext(watch.handle.events()) for _ in range(5)]
    await owner.cancel_job(handle.job_id)
    facts = {"replayed": watch.replayed, "events": news, "end": await attempt(watch.handle.done)}
    if wire:
        facts["numbers"] = wire.numbers()
    for client in {owner, watcher}:
        await client.close()
    return facts


async def history(peer):
    """The transport yields before each frame: the SDK knows its subscription only once its own coroutine has run."""
    owner, _ = await peer.open()
    watcher, wire = await peer.open(yields=True)
    finished = await job(owner, agent="count", input={"to": 5})
    watch = await watcher.subscribe(finished["job_id"], history=True)
    events = [event async for event in watch.handle.events()]
    facts = {
        "owner": finished,
        "watcher": {"job_id": watch.job_id, "events": events, "end": await attempt(watch.handle.done)},
        "replayed": watch.replayed,
        "numbers": wire.numbers(),
    }
    facts["unknown"] = await attempt(watcher.subscribe("job_00000000000000000000000000"))
    await owner.close()
    await watcher.close()
    return facts


async def resume(peer):
    first, wire = await peer.open()
    handle = await first.submit(agent="count", input=FOREVER)
    await wire.until(lambda frame: frame.get("event_seq") == 3)
    await wire.close()
    welcome, last = first.welcome, first.latest_event_seq
    state = SessionResume(
        session_id=welcome.session_id, resume_token=welcome.resume_token, last_event_seq=last
    )
    facts = {"first": wire.numbers()[:last]}
    try:
        second, rest = await peer.open(resume=state)
    except ARCPError as error:
        return facts | {"refused": told(error)}
    await rest.until(lambda frame: frame.get("event_seq") == last + 5)
    watch = await second.subscribe(handle.job_id)
    news = await anext(watch.handle.events())
    await second.cancel_job(handle.job_id)
    facts |= {
        "same_session": second.session_id == welcome.session_id,
        "new_token": second.welcome.resume_token != welcome.resume_token,
        "watched": news["kind"],
        "end": await attempt(watch.handle.done),
        "second": rest.numbers(),
        "used_twice": await attempt(peer.open(resume=state)),
    }
    await second.close()
    return facts


async def chunked_result(peer):
    client, _ = await peer.open()
    handle = await client.submit(agent="report@2.0.0", input={"sections": 20})
    chunks = [chunk async for chunk in handle.chunks()]
    whole = await job(client, agent="report@1.0.0", input={"sections": 20})
    facts = {
        "chunks": [{**chunk, "data": len(chunk["data"])} for chunk in chunks],
        "text": "".join(chunk["data"] for chunk in chunks),
        "end": await attempt(handle.done),
        "whole": whole["end"]["result"],
    }
    await client.close()
    return facts


async def progress(peer):
    client, _ = await peer.open()
    facts = await job(client, agent="count", input={"to": 4})
    await client.close()
    return facts


async def idempotent_retry(peer):
    client, _ = await peer.open()
    key = {"agent": "count", "idempotency_key": "interop"}
    facts = {
        "first": await job(client, **key, input={"to": 2}),
        "again": await job(client, **key, input={"to": 2}),
        "other": await attempt(client.submit(**key, input={"to": 3})),
        "after": (await job(client, agent="echo", input="still there"))["end"],
    }
    await client.close()
    return facts


async def unknown_agent(peer):
    client, _ = await peer.open()
    facts = {
        "agent": await attempt(client.submit(agent="nobody")),
        "version": await attempt(client.submit(agent="echo@9.9.9")),
        "after": (await job(client, agent="echo", input="still there"))["end"],
    }
    await client.close()
    return facts


async def lease_violation(peer):
    client, _ = await peer.open()
    tools = {"agent": "tools", "input": {"calls": ["search.web", "shell.run", "search.mail"]}}
    handle = await client.submit(**tools, lease_request={"tool.call": ["search.*"]})
    facts = {
        "lease": handle.lease,
        "events": [event async for event in handle.events()],
        "end": await attempt(handle.done),
        "none": await job(client, **tools),
        "unknown": await attempt(client.submit(**tools, lease_request={"coffee.make": ["*"]})),
    }
    soon = datetime.now(UTC) + timedelta(seconds=5)
    until = LeaseConstraints(expires_at=soon.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    handle = await client.submit(agent="count", input=FOREVER, lease_constraints=until)
    facts["constraints"] = plain(handle.lease_constraints)
    facts["asked_constraints"] = plain(until)
    facts["expired"] = await attempt(handle.done)
    await client.close()
    return facts


async def budget(peer):
    client, _ = await peer.open()
    handle = await client.submit(
        agent="tools",
        input={"calls": ["a", "a", "a", "a"], "cost": "USD:0.4"},
        lease_request={"tool.call": ["a"], "cost.budget": ["USD:1.00"]},
    )
    facts = {
        "accepted": plain(handle.accepted),
        "events": [event async for event in handle.events()],
        "end": await attempt(handle.done),
    }
    await client.close()
    return facts


async def delegation(peer):
    """The agent has a part done by another, while the client submits a job more."""
    client, wire = await peer.open()
    lease = {"tool.call": ["search.*"], "agent.delegate": ["summarise"], "cost.budget": ["USD:0.50"]}
    handle = await client.submit(
        agent="research", input={"topics": ["tea", "cocoa"], "delay_ms": 20}, lease_request=lease
    )
    facts = {
        "parent": handle.job_id,
        "meanwhile": (await job(client, agent="echo", input="meanwhile"))["end"],
        "events": [event async for event in handle.events()],
        "end": await attempt(handle.done),
        "accepted": [frame["job_id"] for frame in wire.frames if frame["type"] == "job.accepted"],
        "ended": [frame["job_id"] for frame in wire.frames if frame["type"] == "job.result"],
        "jobs": plain(await client.list_jobs()),
        "numbers": wire.numbers(),
    }
    await client.close()
    return facts


CASES = {
    case.__name__: case
    for case in (
        connect, submit, events, result, cancel, list_jobs, subscribe, history, resume, chunked_result, progress,
        lease_violation, budget, delegation, idempotent_retry, unknown_agent,
    )
}


async def main(name):
    peer = Peer()
    async with asyncio.timeout(PATIENCE):
        facts = await CASES[name](peer)
        await peer.end()
    print(json.dumps(facts))


asyncio.run(main(sys.argv[1]))
