"""Version 1 of the Python SDK: PyPI `mcp` 1.x, which speaks the legacy era alone."""

from contextlib import asynccontextmanager

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

__all__ = ["OAuthClientInformationFull", "OAuthClientMetadata", "OAuthClientProvider", "connect", "credentials", "returned"]


def returned(answer):
    return answer["code"], answer.get("state")


def credentials(target, holder, client, scope):
    return ClientCredentialsOAuthProvider(
        target, holder, client["id"], client["secret"], scopes=scope, issuer=client["issuer"]
    )


@asynccontextmanager
async def connect(target, mode, auth):
    async with create_mcp_http_client(auth=auth) as http:
        async with streamable_http_client(target, http_client=http) as (read, write, _):
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
        return result.isError, "\n".join(part.text for part in result.content)
