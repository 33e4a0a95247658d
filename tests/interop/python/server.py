"""A small MCP server on the Python SDK, as its documentation says to write one.

It is a backend that nobody here wrote: this file only gives it something to serve. Both eras, streamable HTTP,
with an event store, so that a stream that the server closes can be resumed. Prints `listening on URL`.
"""

import asyncio
import sys
from typing import Annotated

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve, Sample
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import Completion, CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel

MODERN = "2026-07-28"
WATCHED = "notes://watched"

server = MCPServer("python-interop", version="1.0.0")
state = {"revision": 1, "cancelled": 0}


class Weather(BaseModel):
    temperature: float
    conditions: str


class Name(BaseModel):
    name: str


class Events(EventStore):
    """Keeps every event in memory: the process lives as long as one test."""

    def __init__(self) -> None:
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback: EventCallback):
        last = int(last_event_id)
        stream = self.events[last - 1][0]
        for index, (stream_id, message) in enumerate(self.events[last:], start=last + 1):
            if stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(index)))
        return stream


@server.tool()
def echo(text: str) -> str:
    """Returns its argument."""
    return f"Echo: {text}"


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ToolError("This tool always fails")


@server.tool()
def weather() -> Weather:
    """Returns structured content."""
    return Weather(temperature=22.5, conditions="sunny")


@server.tool()
async def count(ctx: Context) -> str:
    """Reports progress three times."""
    for step in (1, 2, 3):
        await ctx.report_progress(step, 3)
        await asyncio.sleep(0.05)
    return "Counted to three"


@server.tool()
async def log(ctx: Context) -> str:
    """Logs once at info."""
    await ctx.info("A line of the log")
    return "Logged"


async def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


@server.tool()
async def greet(answer: Annotated[Name, Resolve(ask_name)]) -> str:
    """Asks for a name and greets."""
    return f"Hello, {answer.name}!"


async def ask_model() -> Sample:
    question = SamplingMessage(role="user", content=TextContent(type="text", text="What is the capital of France?"))
    return Sample([question], max_tokens=100)


@server.tool()
async def consult(answer: Annotated[CreateMessageResult, Resolve(ask_model)]) -> str:
    """Asks the client's model."""
    return f"The model says: {answer.content.text}"


@server.tool()
async def wait(ctx: Context) -> str:
    """Reports progress and waits to be cancelled."""
    try:
        await ctx.report_progress(1, 2)
        await asyncio.sleep(50)
    except asyncio.CancelledError:
        state["cancelled"] += 1
        raise
    return "Nobody cancelled the call"


@server.tool()
def cancelled() -> str:
    """Counts the cancelled calls."""
    return str(state["cancelled"])


@server.tool()
async def come_back(ctx: Context) -> str:
    """Closes its stream before it answers."""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.2)
    return "Welcome back"


@server.tool()
async def change_tools(ctx: Context) -> str:
    """Adds the dynamic tool, or takes it away."""
    if any(tool.name == "dynamic" for tool in await server.list_tools()):
        server.remove_tool("dynamic")
    else:
        server.add_tool(lambda: "dynamic", name="dynamic", description="Is here now and then.")
    if ctx.protocol_version == MODERN:
        await ctx.notify_tools_changed()
    else:
        await ctx.session.send_tool_list_changed()
    return "Changed"


@server.tool()
async def change_notes(ctx: Context) -> str:
    """Changes the watched resource."""
    state["revision"] += 1
    await ctx.notify_resource_updated(WATCHED)
    return "Changed"


@server.prompt()
def greeting(name: str) -> str:
    """A prompt with one argument."""
    return f"Please greet {name}."


@server.resource("notes://today", name="today", mime_type="text/plain")
def today() -> str:
    """A constant text."""
    return "Today is a good day."


@server.resource(WATCHED, name="watched", mime_type="text/plain")
def watched() -> str:
    """A text that changes."""
    return f"Revision {state['revision']}"


@server.resource("notes://{day}/entry", name="entry", mime_type="text/plain")
def entry(day: str) -> str:
    """The entry of one day."""
    return f"Entry of {day}"


@server.completion()
async def complete(ref, argument, context):
    names = ["ada", "alan", "grace"]
    return Completion(values=[name for name in names if name.startswith(argument.value)], has_more=False)


class Announcing(uvicorn.Server):
    """Says where it listens as soon as it does."""

    async def startup(self, sockets=None):
        await super().startup(sockets=sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}/mcp", flush=True)


def main() -> None:
    app = server.streamable_http_app(event_store=Events(), retry_interval=200)
    config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
    asyncio.run(Announcing(config).serve())


if __name__ == "__main__":
    main()
