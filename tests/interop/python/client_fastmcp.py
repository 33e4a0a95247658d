"""The client of FastMCP: PyPI `fastmcp`, on version 2 of the SDK. It subscribes to nothing."""

from contextlib import asynccontextmanager

import mcp_types as types
from fastmcp import Client
from fastmcp.client.transports import SSETransport
from mcp import MCPError

from features import Answer, Notes, Refused, texts

REQUEST_SECONDS = 20
LOG_LEVEL = "debug"
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"


@asynccontextmanager
async def connect(target, mode, host):
    notes = Notes()

    async def elicit(message, response_type, params, context):
        return host.elicit()

    async def log(params):
        host.logs.append(params)

    client = Client(
        SSETransport(target) if mode == "sse" else target,
        mode="auto" if mode == "modern" else "legacy",
        timeout=REQUEST_SECONDS,
        sampling_handler=lambda messages, params, context: host.sample(),
        elicitation_handler=elicit,
        log_handler=log,
        message_handler=notes.queue.put,
        cache=False,
    )
    async with client:
        yield FastMcp(client, mode, notes)


class FastMcp:
    def __init__(self, client, mode, notes):
        self.client = client
        self.modern = mode == "modern"
        self.notes = notes

    @property
    def version(self):
        return self.client.protocol_version

    async def tools(self):
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, name, arguments, progress=None):
        async def report(done, total, message):
            progress(done)

        # A modern server logs only for a request that asks for it.
        meta = {LOG_LEVEL_KEY: LOG_LEVEL} if self.modern else None
        options = {"progress_handler": report if progress else None, "meta": meta}
        try:
            result = await self.client.call_tool(name, arguments, raise_on_error=False, **options)
        except MCPError as error:
            raise Refused(error.error.code, error.error.message) from error
        return Answer(texts(result.content), result.is_error, result.structured_content or {})

    async def prompts(self):
        return [prompt.name for prompt in await self.client.list_prompts()]

    async def prompt(self, name, arguments):
        result = await self.client.get_prompt(name, arguments)
        return texts(message.content for message in result.messages)

    async def resources(self):
        return [str(resource.uri) for resource in await self.client.list_resources()]

    async def templates(self):
        return [template.uri_template for template in await self.client.list_resource_templates()]

    async def read(self, uri):
        return texts(await self.client.read_resource(uri))

    async def complete(self, prompt, argument, value):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return (await self.client.complete(reference, {"name": argument, "value": value})).values

    async def log_everything(self):
        if not self.modern and self.client.server_capabilities.logging is not None:
            await self.client.set_logging_level(LOG_LEVEL)

    @asynccontextmanager
    async def changes(self):
        yield lambda: self.notes.next(types.ToolListChangedNotification)
