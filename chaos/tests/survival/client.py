"""Drives a version of the Python SDK: one session, with calls, questions and a subscription, while nodes are lost.

Usage: client.py VERSION URL   (VERSION: v1 or v2, the major version of PyPI `mcp` that is installed)

Each line of standard input is something to do, and is answered with a line:

    {"do": "open", "watch": [URI, …]}  opens the session, and subscribes to the resources
    {"do": "begin", "calls": […]}      makes calls; answers when each has counted once, or waits for the answer to its question
    {"do": "finish"}                   answers the questions; then answers with what was seen of the calls, each once it has ended
    {"do": "read", "uri": URI}         reads a resource
    {"do": "heard", "seconds": N}      waits for news of a resource since the last `begin` was answered, so long at most
    {"do": "close"}                    ends the session

A call is `{"id": …, "tool": …, "arguments": {…}, "asks": BOOL, "number": N}`; what was seen of it is
`{"id": …, "text": …|null, "error": {"code": …, "message": …, "data": …}|null, "raised": …|null, "progress": […], "asked": N}`.
Each answer has `sessions`, the ids that requests had, and `initializes`, how many had none. The SDK is as it is installed; the
HTTP client that it is given is the one that it makes for itself, with a hook that looks at requests.

When the SDK itself ends, a line says so: `{"ended": REASON}`.
"""

import asyncio
import json
import logging
import sys
from contextlib import AsyncExitStack, asynccontextmanager

REQUEST_SECONDS = 100


def say(line):
    print(json.dumps(line), flush=True)


def reason(error):
    """The first error inside of the groups that task groups raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class Call:
    """A call, and what was seen of it."""

    def __init__(self, job):
        self.job = job
        self.progress = []
        self.asked = 0
        self.under_way = asyncio.Event()
        self.replies = asyncio.Event()
        self.text = self.error = self.raised = None
        self.task = None

    async def count(self, progress, total=None, message=None):
        self.progress.append(progress)
        if not self.job["asks"]:
            self.under_way.set()

    async def ask(self):
        self.asked += 1
        self.under_way.set()
        await self.replies.wait()
        return {"number": self.job["number"]}

    async def run(self, sdk):
        try:
            self.text = await sdk.call(self.job["tool"], self.job["arguments"], self.count)
        except sdk.refusal as refused:
            error = refused.error
            self.error = {"code": error.code, "message": error.message, "data": error.data}
        except Exception as error:
            self.raised = reason(error)
        self.under_way.set()

    def seen(self):
        return {
            "id": self.job["id"],
            "text": self.text,
            "error": self.error,
            "raised": self.raised,
            "progress": self.progress,
            "asked": self.asked,
        }


class Driver:
    """What is between the lines of standard input and the SDK."""

    def __init__(self):
        self.sdk = None
        self.calls = []
        self.sessions = []
        self.initializes = 0
        self.heard = 0
        self.news = asyncio.Event()

    # What the SDK tells.

    async def look(self, request):
        session = request.headers.get("mcp-session-id")
        if session is None:
            self.initializes += 1
        elif session not in self.sessions:
            self.sessions.append(session)

    async def elicit(self, message):
        call = next(call for call in self.calls if message.endswith(f"a number for {call.job['id']}"))
        return await call.ask()

    def updated(self):
        self.heard += 1
        self.news.set()

    # What the lines ask for.

    async def open(self, job):
        for uri in job["watch"]:
            await self.sdk.watch(uri)
        return {}

    async def begin(self, job):
        self.calls = [Call(call) for call in job["calls"]]
        # Version 1 hears nothing while a question waits for its answer, so that questions come last.
        for asks in (False, True):
            calls = [call for call in self.calls if call.job["asks"] == asks]
            for call in calls:
                call.task = asyncio.create_task(call.run(self.sdk))
            for call in calls:
                await call.under_way.wait()
        self.heard = 0
        self.news.clear()
        return {}

    async def finish(self, job):
        for call in self.calls:
            call.replies.set()
        for call in self.calls:
            await call.task
        return {"calls": [call.seen() for call in self.calls]}

    async def read(self, job):
        return {"text": await self.sdk.read(job["uri"])}

    async def hear(self, job):
        try:
            await asyncio.wait_for(self.news.wait(), job["seconds"])
        except TimeoutError:
            pass
        return {"heard": self.heard}

    async def drive(self):
        lines = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
        works = {"open": self.open, "begin": self.begin, "finish": self.finish, "read": self.read, "heard": self.hear}
        while (job := json.loads(await lines.get() or '{"do": "close"}'))["do"] != "close":
            answer = await works[job["do"]](job)
            say({**answer, "sessions": self.sessions, "initializes": self.initializes})
        loop.remove_reader(sys.stdin)


@asynccontextmanager
async def version_1(driver, url):
    from datetime import timedelta

    from mcp import ClientSession, McpError, types
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client
    from pydantic import AnyUrl

    async def elicit(context, params):
        return types.ElicitResult(action="accept", content=await driver.elicit(params.message))

    async def note(message):
        if isinstance(getattr(message, "root", None), types.ResourceUpdatedNotification):
            driver.updated()

    class Sdk:
        refusal = McpError

        def __init__(self, session):
            self.session = session

        async def call(self, tool, arguments, progress):
            result = await self.session.call_tool(tool, arguments, progress_callback=progress)
            return result.content[0].text

        async def read(self, uri):
            return (await self.session.read_resource(AnyUrl(uri))).contents[0].text

        async def watch(self, uri):
            await self.session.subscribe_resource(AnyUrl(uri))

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(create_mcp_http_client())
        http.event_hooks = {"request": [driver.look]}
        read, write, *_ = await stack.enter_async_context(streamable_http_client(url, http_client=http))
        timeout = timedelta(seconds=REQUEST_SECONDS)
        session = ClientSession(
            read, write, read_timeout_seconds=timeout, elicitation_callback=elicit, message_handler=note
        )
        await stack.enter_async_context(session)
        await session.initialize()
        yield Sdk(session)


@asynccontextmanager
async def version_2(driver, url):
    import mcp_types as types
    from mcp import Client, MCPError
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async def elicit(context, params):
        return types.ElicitResult(action="accept", content=await driver.elicit(params.message))

    async def note(message):
        if isinstance(message, types.ResourceUpdatedNotification):
            driver.updated()

    class Sdk:
        refusal = MCPError

        def __init__(self, client):
            self.client = client

        async def call(self, tool, arguments, progress):
            result = await self.client.call_tool(tool, arguments, progress_callback=progress)
            return result.content[0].text

        async def read(self, uri):
            return (await self.client.read_resource(uri)).contents[0].text

        async def watch(self, uri):
            await self.client.subscribe_resource(uri)

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(create_mcp_http_client())
        http.event_hooks = {"request": [driver.look]}
        transport = streamable_http_client(url, http_client=http)
        client = Client(
            transport,
            mode="legacy",
            read_timeout_seconds=REQUEST_SECONDS,
            elicitation_callback=elicit,
            message_handler=note,
        )
        yield Sdk(await stack.enter_async_context(client))


async def main():
    driver = Driver()
    connect = {"v1": version_1, "v2": version_2}[sys.argv[1]]
    async with connect(driver, sys.argv[2]) as driver.sdk:
        await driver.drive()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(main())
    except Exception as error:
        say({"ended": reason(error)})
        sys.exit(1)
