"""What an application keeps for the SDK's OAuth client: its registration, its tokens, and a person to ask.

Both major versions of the Python SDK take the same object as their storage and its methods as their handlers.
"""

from urllib.parse import parse_qs, urlsplit

import person

REDIRECT = "http://127.0.0.1:9/callback"


class Holder:
    def __init__(self, who, consents, information):
        self.who = who
        self.consents = consents
        self.information = information
        self.held = None
        self.visits = 0
        self.grants = 0
        self.returned = None

    async def get_tokens(self):
        return self.held

    async def set_tokens(self, tokens):
        self.grants += 1
        self.held = tokens

    async def get_client_info(self):
        return self.information

    async def set_client_info(self, information):
        self.information = information

    async def redirect(self, url):
        self.visits += 1
        end = await person.authorize(url, self.who, REDIRECT, self.consents)
        self.returned = {name: values[0] for name, values in parse_qs(urlsplit(end).query).items()}
        if "error" in self.returned:
            raise PermissionError(f"the provider refused: {self.returned['error']}")
