"""LangChain's adapters: PyPI `langchain-mcp-adapters`, on version 1 of the SDK.

What an agent of LangChain sees is what counts here: tools that are invoked as a model would, prompts as messages,
resources as blobs. One session is used where servers keep state in it; lists of tools and reads of resources have one
of their own each, as the methods of its client have.
"""

from contextlib import asynccontextmanager

from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.prompts import load_mcp_prompt
from langchain_mcp_adapters.resources import load_mcp_resources
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp import McpError, types

import ending
from features import Answer, Refused

SERVER = "gateway"


@asynccontextmanager
async def connect(target, mode, host):
    progress = []

    async def elicit(context, params, about):
        return types.ElicitResult(action="accept", content=host.elicit())

    async def log(params, about):
        host.logs.append(params)

    async def report(done, total, message, about):
        for callback in progress:
            callback(done)

    callbacks = Callbacks(on_logging_message=log, on_progress=report, on_elicitation=elicit)
    transport = "sse" if mode == "sse" else "streamable_http"
    client = MultiServerMCPClient({SERVER: {"transport": transport, "url": target}}, callbacks=callbacks)
    async with client.session(SERVER, auto_initialize=False) as session:
        introduced = await session.initialize()
        tools = await load_mcp_tools(session, callbacks=callbacks, server_name=SERVER)
        yield LangChain(client, session, introduced, {tool.name: tool for tool in tools}, progress)


class LangChain:
    def __init__(self, client, session, introduced, loaded, progress):
        self.client = client
        self.session = session
        self.version = introduced.protocolVersion
        self.capabilities = introduced.capabilities
        self.loaded = loaded
        self.progress = progress

    async def tools(self):
        async with ending.session(self.client.session(SERVER)) as session:
            return [tool.name for tool in await load_mcp_tools(session)]

    async def call(self, name, arguments, progress=None):
        self.progress[:] = [progress] if progress else []
        request = {"type": "tool_call", "id": "1", "name": name, "args": arguments}
        try:
            message = await self.loaded[name].ainvoke(request)
        except McpError as error:
            raise Refused(error.error.code, error.error.message) from error
        structured = (message.artifact or {}).get("structured_content") or {}
        return Answer(said(message), message.status == "error", structured)

    async def prompts(self):
        return None

    async def prompt(self, name, arguments):
        messages = await load_mcp_prompt(self.session, name, arguments=arguments)
        return [message.content for message in messages]

    async def resources(self):
        return [str(blob.metadata["uri"]) for blob in await load_mcp_resources(self.session)]

    async def read(self, uri):
        async with ending.session(self.client.session(SERVER)) as session:
            return [blob.as_string() for blob in await load_mcp_resources(session, uris=uri)]

    async def log_everything(self):
        if self.capabilities.logging is not None:
            await self.session.set_logging_level("debug")


def said(message):
    blocks = message.content if isinstance(message.content, list) else [message.content]
    return [block if isinstance(block, str) else block.get("text", "") for block in blocks]
