"""What both versions of the Python SDK have in common here: where they have it, and how it is used."""

from contextlib import asynccontextmanager

from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

__all__ = [
    "OAuthClientInformationFull",
    "OAuthClientMetadata",
    "OAuthClientProvider",
    "credentials",
    "outcome",
    "transport",
]


def credentials(target, holder, client, **scopes):
    """What a program gets in with that acts for itself; the versions do not name its scopes alike."""
    return ClientCredentialsOAuthProvider(target, holder, client["id"], client["secret"], issuer=client["issuer"], **scopes)


@asynccontextmanager
async def transport(target, auth):
    async with create_mcp_http_client(auth=auth) as http:
        yield streamable_http_client(target, http_client=http)


def outcome(is_error, content):
    """Whether a tool failed, and what it says."""
    return is_error, "\n".join(part.text for part in content)
