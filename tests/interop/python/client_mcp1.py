"""Version 1 of the Python SDK: PyPI `mcp` 1.x, which speaks the legacy era alone."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from mcp import ClientSession, McpError, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

from features import Answer, Notes, Refused, pages, texts

REQUEST = timedelta(seconds=20)


@asynccontextmanager
async def connect(target, mode, host):
    notes = Notes()

    async def sample(context, params):
        content = types.TextContent(type="text", text=host.sample())
        return types.CreateMessageResult(role="assistant", content=content, model="driver", stopReason="endTurn")

    async def elicit(context, params):
        return types.ElicitResult(action="accept", content=host.elicit())

    async def log(params):
        host.logs.append(params)

    async def note(message):
        if isinstance(message, types.ServerNotification):
            await notes.queue.put(message.root)

    async with AsyncExitStack() as stack:
        transport = sse_client(target) if mode == "sse" else streamable_http_client(target)
        read, write, *_ = await stack.enter_async_context(transport)
        session = ClientSession(
            read,
            write,
            read_timeout_seconds=REQUEST,
            sampling_callback=sample,
            elicitation_callback=elicit,
            logging_callback=log,
            message_handler=note,
        )
        await stack.enter_async_context(session)
        yield Sdk(session, notes, await session.initialize())


class Sdk:
    def __init__(self, session, notes, initialized):
        self.session = session
        self.notes = notes
        self.version = initialized.protocolVersion
        self.capabilities = initialized.capabilities

    async def tools(self):
        return [tool.name for tool in await self.all(self.session.list_tools, "tools")]

    async def all(self, method, key):
        return await pages(lambda at: method(params=types.PaginatedRequestParams(cursor=at)), key, "nextCursor")

    async def call(self, name, arguments, progress=None):
        async def report(done, total, message):
            progress(done)

        try:
            result = await self.session.call_tool(name, arguments, progress_callback=report if progress else None)
        except McpError as error:
            raise Refused(error.error.code, error.error.message) from error
        return answer(result)

    async def prompts(self):
        return [prompt.name for prompt in await self.all(self.session.list_prompts, "prompts")]

    async def prompt(self, name, arguments):
        result = await self.session.get_prompt(name, arguments)
        return texts(message.content for message in result.messages)

    async def resources(self):
        return [str(resource.uri) for resource in await self.all(self.session.list_resources, "resources")]

    async def templates(self):
        templates = await self.all(self.session.list_resource_templates, "resourceTemplates")
        return [template.uriTemplate for template in templates]

    async def read(self, uri):
        return texts((await self.session.read_resource(AnyUrl(uri))).contents)

    async def complete(self, prompt, argument, value):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        result = await self.session.complete(reference, {"name": argument, "value": value})
        return result.completion.values

    async def log_everything(self):
        if self.capabilities.logging is not None:
            await self.session.set_logging_level("debug")

    async def task(self, name, arguments):
        """The experimental tasks of 2025-11-25."""
        tasks = self.session.experimental
        created = await tasks.call_tool_as_task(name, arguments)
        async for status in tasks.poll_task(created.task.taskId):
            await asyncio.sleep(0)
        return answer(await tasks.get_task_result(status.taskId, types.CallToolResult))

    @asynccontextmanager
    async def updates(self, uri):
        await self.session.subscribe_resource(AnyUrl(uri))
        kind = types.ResourceUpdatedNotification
        yield lambda: self.notes.next(kind, lambda note: str(note.params.uri) == uri)
        await self.session.unsubscribe_resource(AnyUrl(uri))

    @asynccontextmanager
    async def changes(self):
        yield lambda: self.notes.next(types.ToolListChangedNotification)


def answer(result):
    return Answer(texts(result.content), bool(result.isError), result.structuredContent or {})
