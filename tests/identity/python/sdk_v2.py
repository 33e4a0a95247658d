"""Version 2 of the Python SDK: PyPI `mcp` 2.x, which speaks both eras."""

from contextlib import asynccontextmanager

from mcp import Client
from mcp.client.auth import AuthorizationCodeResult

import sdk


def returned(answer):
    return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


def credentials(target, holder, client, scope):
    return sdk.credentials(target, holder, client, scope=scope)


@asynccontextmanager
async def connect(target, mode, auth):
    async with sdk.transport(target, auth) as transport:
        async with Client(transport, mode="auto" if mode == "modern" else "legacy") as client:
            yield Sdk(client)


class Sdk:
    def __init__(self, client):
        self.client = client

    @property
    def version(self):
        return self.client.protocol_version

    async def tools(self):
        return [tool.name for tool in (await self.client.list_tools(cache_mode="refresh")).tools]

    async def call(self, name, arguments):
        result = await self.client.call_tool(name, arguments)
        return sdk.outcome(result.is_error, result.content)
