"""A person at a browser: follows an authorization request to its end, which is a redirect to the program that began it.

The identity provider of the tests learns who sits there by a header. Nothing is fetched from the program's own redirect
address: what it would be told there is in the URL that comes back.
"""

import asyncio
import urllib.request
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urljoin

REDIRECTS_MAX = 20
REQUEST_SECONDS = 20


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


async def authorize(url, who, redirect, consents):
    return await asyncio.to_thread(follow, url, who, redirect, consents)


def follow(url, who, redirect, consents):
    cookies = urllib.request.HTTPCookieProcessor(CookieJar())
    browser = urllib.request.build_opener(cookies, Stay, urllib.request.ProxyHandler({}))
    headers = {"x-person": who} if who else {}
    if not consents:
        headers["x-consent"] = "no"
    for _ in range(REDIRECTS_MAX):
        try:
            page = browser.open(urllib.request.Request(url, headers=headers), timeout=REQUEST_SECONDS)
        except HTTPError as answer:
            page = answer
        with page:
            location = page.headers.get("location")
            if location is None:
                raise RuntimeError(f"the provider shows a page: {page.status} {page.read(300)}")
        url = urljoin(url, location)
        if url.startswith(redirect):
            return url
    raise RuntimeError(f"more than {REDIRECTS_MAX} redirects")
