"""Version 1 of the Python SDK: PyPI `mcp` 1.x, which speaks the legacy era alone."""

from contextlib import asynccontextmanager

from mcp import ClientSession

import sdk


def returned(answer):
    return answer["code"], answer.get("state")


def credentials(target, holder, client, scope):
    return sdk.credentials(target, holder, client, scopes=scope)


@asynccontextmanager
async def connect(target, mode, auth):
    async with sdk.transport(target, auth) as transport, transport as (read, write, _):
        async with ClientSession(read, write) as session:
            initialized = await session.initialize()
            yield Sdk(session, initialized.protocolVersion)


class Sdk:
    def __init__(self, session, version):
        self.session = session
        self.version = version

    async def tools(self):
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call(self, name, arguments):
        result = await self.session.call_tool(name, arguments)
        return sdk.outcome(result.isError, result.content)
