"""Version 2 of the Python SDK: PyPI `mcp` 2.x, which speaks both eras."""

from contextlib import asynccontextmanager

from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

__all__ = ["OAuthClientInformationFull", "OAuthClientMetadata", "OAuthClientProvider", "connect", "credentials", "returned"]


def returned(answer):
    return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


def credentials(target, holder, client, scope):
    return ClientCredentialsOAuthProvider(
        target, holder, client["id"], client["secret"], scope=scope, issuer=client["issuer"]
    )


@asynccontextmanager
async def connect(target, mode, auth):
    async with create_mcp_http_client(auth=auth) as http:
        transport = streamable_http_client(target, http_client=http)
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
        return result.is_error, "\n".join(part.text for part in result.content)
