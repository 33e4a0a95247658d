"""How a session over HTTP+SSE ends in the Python SDK.

Both versions of its client close the stream between session and transport first, and cancel the transport's reader
after that. A notification that arrives in between (a server may send one at any time) makes the reader fail, and the
error comes out of a session whose work is done: a server of 40 lines that notifies right after its answer sees it in
one of ten visits, without any gateway. It says nothing of the server or of what is between.
"""

from contextlib import asynccontextmanager

from anyio import BrokenResourceError


@asynccontextmanager
async def session(context):
    """Enters what `context` gives; once its body has ended well, the reader's failure is no error."""
    done = False
    try:
        async with context as entered:
            yield entered
            done = True
    except* BrokenResourceError:
        if not done:
            raise
