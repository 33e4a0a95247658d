"""Version 2 of the Python SDK: PyPI `mcp` 2.x, the only library here that also drives servers on standard output."""

import os
from contextlib import asynccontextmanager

import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client

from features import Answer, Notes, Refused, pages, texts

REQUEST_SECONDS = 20
LOG_LEVEL = "debug"


@asynccontextmanager
async def connect(target, mode, host):
    notes = Notes()

    async def sample(context, params):
        content = types.TextContent(type="text", text=host.sample())
        return types.CreateMessageResult(role="assistant", content=content, model="driver", stop_reason="endTurn")

    async def elicit(context, params):
        return types.ElicitResult(action="accept", content=host.elicit())

    async def log(params):
        host.logs.append(params)

    # The errors of a server on standard output are not this driver's.
    with open(os.devnull, "w", encoding="utf-8") as errors:
        client = Client(
            transport(target, mode, errors),
            mode="auto" if mode == "modern" else "legacy",
            read_timeout_seconds=REQUEST_SECONDS,
            sampling_callback=sample,
            elicitation_callback=elicit,
            logging_callback=log,
            message_handler=notes.queue.put,
            log_level=LOG_LEVEL if mode == "modern" else None,
        )
        async with client:
            yield Sdk(client, mode, notes)


def transport(target, mode, errors):
    if isinstance(target, str):
        return sse_client(target) if mode == "sse" else target
    command, *arguments = target["command"]
    parameters = StdioServerParameters(command=command, args=arguments, env=target["env"], cwd=target["folder"])
    return stdio_client(parameters, errlog=errors)


class Sdk:
    def __init__(self, client, mode, notes):
        self.client = client
        self.modern = mode == "modern"
        self.notes = notes

    @property
    def version(self):
        return self.client.protocol_version

    async def tools(self):
        tools = await pages(lambda at: self.client.list_tools(cursor=at, cache_mode="refresh"), "tools")
        return [tool.name for tool in tools]

    async def call(self, name, arguments, progress=None):
        async def report(done, total, message):
            progress(done)

        try:
            result = await self.client.call_tool(name, arguments, progress_callback=report if progress else None)
        except MCPError as error:
            raise Refused(error.error.code, error.error.message) from error
        return Answer(texts(result.content), bool(result.is_error), result.structured_content or {})

    async def prompts(self):
        return [prompt.name for prompt in await pages(lambda at: self.client.list_prompts(cursor=at), "prompts")]

    async def prompt(self, name, arguments):
        result = await self.client.get_prompt(name, arguments)
        return texts(message.content for message in result.messages)

    async def resources(self):
        resources = await pages(lambda at: self.client.list_resources(cursor=at), "resources")
        return [str(resource.uri) for resource in resources]

    async def templates(self):
        templates = await pages(lambda at: self.client.list_resource_templates(cursor=at), "resource_templates")
        return [template.uri_template for template in templates]

    async def read(self, uri):
        return texts((await self.client.read_resource(uri)).contents)

    async def complete(self, prompt, argument, value):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        result = await self.client.complete(reference, {"name": argument, "value": value})
        return result.completion.values

    async def log_everything(self):
        # A modern request says itself what it wants logged.
        if not self.modern and self.client.server_capabilities.logging is not None:
            await self.client.set_logging_level(LOG_LEVEL)

    @asynccontextmanager
    async def updates(self, uri):
        if self.modern:
            async with self.client.listen(resource_subscriptions=[uri]) as subscription:
                yield lambda: next_event(subscription, lambda event: getattr(event, "uri", None) == uri)
        else:
            await self.client.subscribe_resource(uri)
            kind = types.ResourceUpdatedNotification
            yield lambda: self.notes.next(kind, lambda note: str(note.params.uri) == uri)
            await self.client.unsubscribe_resource(uri)

    @asynccontextmanager
    async def changes(self):
        if self.modern:
            async with self.client.listen(tools_list_changed=True) as subscription:
                yield lambda: next_event(subscription, lambda event: True)
        else:
            yield lambda: self.notes.next(types.ToolListChangedNotification)


async def next_event(subscription, predicate):
    async for event in subscription:
        if predicate(event):
            return event
    raise EOFError("the subscription ended")
