"""The features: what is asked of a client, and what it must see, whoever answers behind the gateway.

A feature that works says nothing; one that the API behind has no words for, and which the client is told so of, says
`400`. What a model does is in its name, behind the name of the API (`crates/bench/src/provider/plan.rs`).
"""

import json
import time
import urllib.request

from said import WORDS, Ask, City, encoded

# How long the provider has to notice that the client left.
NOTICE_SECONDS = 10
REFUSED = "400"

# The kinds of models whose provider may fail, and whose provider may ask to be left alone.
FAILING = "failing-"
LIMITED = "limited-"


class Wrong(Exception):
    """The client saw something else."""


def check(holds, seen):
    if not holds:
        raise Wrong(repr(seen))


class Features:
    def __init__(self, client, behind, mock):
        self.client = client
        self.behind = behind
        self.mock = mock

    def show(self, feature):
        return getattr(self, feature)()

    def model(self, options="", kind=""):
        """A model; the gateway leaves providers alone that fail, so those that do are of another kind."""
        return f"{kind}{self.behind}-mock{options}"

    def ledger(self):
        with urllib.request.urlopen(f"{self.mock}/ledger", timeout=10) as answer:
            return json.load(answer)

    def heard(self, name):
        """The body that the provider had for the model of this name."""
        return self.ledger()["models"][name]["last"]["body"]

    def raises(self, kinds, work):
        try:
            seen = work()
        except Exception as error:
            kind = self.client.kind(error)
            if kind not in kinds:
                raise Wrong(f"{kind} ({type(error).__name__}: {error}), not {kinds}") from error
            return error
        raise Wrong(f"it ends well, with {seen!r}")

    # === Answers ===

    def chat(self):
        said = self.client.ask(Ask(self.model()))
        check(said.text == f"echo: {WORDS}", said)
        check(said.usage and min(said.usage) > 0, said.usage)

    def system(self):
        said = self.client.ask(Ask(f"{self.behind}-hears-the-system", system="Answer as a pirate."))
        check(said.text == f"echo: {WORDS}", said)
        check("Answer as a pirate." in self.heard("hears-the-system"), "not heard")

    def stream(self):
        said = self.client.stream(Ask(self.model(",chunks=16,gap=2ms")))
        check(said.text == f"echo: {WORDS}", said)
        check(said.pieces >= 16, said.pieces)

    def usage(self):
        said = self.client.stream(Ask(self.model(",usage=123/45")))
        check(said.usage == (123, 45), said.usage)

    def tools(self):
        self.called(self.client.ask(Ask(self.model(",tools=2"), tools=True)))

    def tool_stream(self):
        self.called(self.client.stream(Ask(self.model(",tools=2,chunks=3"), tools=True)))

    def results(self):
        ask = Ask(f"{self.behind}-mock,tools=2,first=1ms", tools=True)
        ask.after = self.client.ask(ask)
        self.called(ask.after)
        ask.results = {call.id: f"{call.name} says fine" for call in ask.after.calls}
        said = self.client.ask(ask)
        check(said.text and not said.calls, said)
        heard = self.heard("mock,tools=2,first=1ms")
        check("weather says fine" in heard and "clock says fine" in heard, heard)

    def called(self, said):
        check([call.name for call in said.calls] == ["weather", "clock"], said)
        check(len({call.id for call in said.calls}) == 2, said)
        weather, clock = (call.arguments for call in said.calls)
        check(list(weather) == ["city"] and isinstance(weather["city"], str), said)
        check(list(clock) == ["zone"] and isinstance(clock["zone"], str), said)

    def structured(self):
        parsed = self.client.parse(self.model())
        check(isinstance(parsed, City), parsed)

    def image(self):
        return self.media("image")

    def document(self):
        return self.media("document")

    def media(self, media):
        try:
            said = self.client.ask(Ask(f"{self.behind}-sees-an-{media}", media=media))
        except Exception as error:
            if self.client.kind(error) == "bad request":
                return REFUSED
            raise
        check(said.text == f"echo: {WORDS}", said)
        heard = self.heard(f"sees-an-{media}")
        if self.behind == "gemini":
            # It takes both alphabets of Base64, and Google's SDK writes the other one.
            heard = heard.replace("-", "+").replace("_", "/")
        check(encoded(media)[1] in heard, "not seen")

    def embeddings(self):
        try:
            vectors = self.client.embed(self.model(), ["one", "two"])
        except Exception as error:
            # Where there are none, a client is told that there is no such model.
            if self.behind == "messages" and self.client.kind(error) == "not found":
                return "404"
            raise
        check(len(vectors) == 2 and len(vectors[0]) > 1, vectors)
        check(vectors[0] != vectors[1], vectors)

    def models(self):
        names = self.client.models()
        check("listed" in names, names)

    def count(self):
        tokens = self.client.count(self.model())
        check(tokens > 0, tokens)

    # === Failures ===

    def unknown(self):
        self.raises(["not found"], lambda: self.client.ask(Ask("nobody")))

    def malformed(self):
        self.raises(["bad request"], lambda: self.client.ask(Ask(self.model(",status=400", FAILING))))
        if hasattr(self.client, "malformed") and self.behind in self.foreign():
            self.raises(["bad request"], lambda: self.client.malformed(self.model()))

    def foreign(self):
        """The APIs to which this client is translated: others take a request as it is, and judge it themselves."""
        own = {"Chat": "chat", "Responses": "responses", "Messages": "messages", "Gemini": "gemini"}
        return {*own.values()} - {own[type(self.client).__name__]}

    def limited(self):
        """First by the provider, then by the gateway, which knows until when."""
        ask = Ask(self.model(",status=429,retry-after=1", LIMITED))
        for work in [self.client.ask, self.client.stream]:
            error = self.raises(["rate limit"], lambda: work(ask))
            response = getattr(error.__cause__ or error, "response", None)
            check(response is None or "retry-after" in response.headers, "no retry-after")

    def failed(self):
        for fault in ["status=500", "html", "error-html", "cut-head", "wrong-json"]:
            try:
                self.raises(["server", "status"], lambda: self.client.ask(Ask(self.model(f",{fault}", FAILING))))
            except Wrong as wrong:
                raise Wrong(f"{fault}: {wrong}") from wrong

    def cut(self):
        for fault in ["cut=3", "half-close=3", "error-event=3"]:
            ask = Ask(self.model(f",chunks=16,gap=2ms,{fault}", FAILING))
            try:
                self.raises(["server", "status", "broken"], lambda: self.client.stream(ask))
            except Wrong as wrong:
                raise Wrong(f"{fault}: {wrong}") from wrong

    def timeout(self):
        self.client.impatient(1)
        try:
            self.raises(["timeout"], lambda: self.client.ask(Ask(self.model(",head=5s", FAILING))))
        finally:
            self.client.impatient(20)

    def close(self):
        before = self.ledger()["streams"]["abandoned"]
        self.client.first_pieces(Ask(self.model(",endless,gap=10ms", FAILING)), 3)
        end = time.monotonic() + NOTICE_SECONDS
        while self.ledger()["streams"]["abandoned"] == before:
            if time.monotonic() > end:
                raise Wrong("the provider goes on")
            time.sleep(0.02)
