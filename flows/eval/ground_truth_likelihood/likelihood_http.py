"""One request over HTTP: one pool of connections, bounds, retries, and errors that say what happened.

Each flow that asks a service by itself has this file under a name of its own: a flow's folder travels alone, and flows
in one process share the names of their modules.
"""

import asyncio
import email.utils
import ipaddress
import random
import re
import time
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp

CONNECTIONS = 500  # Azure ML's limit for an endpoint
MAX_ANSWER_BYTES = 4_000_000
"""Of an answer, also after it is decompressed: what is larger is no answer of a model's."""
MAX_BYTES_AT_ONCE = 32_000_000
"""Of all answers that are being read: beyond it, one that is larger than its share is too much."""
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_RETRY_AFTER_S = 180.0
"""As long as a request may take at Azure ML. Who asks to be left alone for longer is left to the caller."""
_SHORTEST_SECRET, _LONGEST_WORD = 4, 12  # characters
RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})

_CHARSETS = {"utf-8": "utf-8-sig", "utf8": "utf-8-sig"} | {
    name: name for name in ("us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf-16", "utf-16le", "utf-16be")
}
"""By the name that a server may give: Python's. What no server of text says is not tried."""

_Answer = TypeVar("_Answer")


class EndpointError(Exception):
    """The endpoint gave no answer.

    ``status_code`` is None where no HTTP status came back; ``retryable`` says whether the same request may succeed
    later; ``retry_after_s`` is what the endpoint asked for.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retryable = retryable
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Reply:
    """What came back, whatever its status: the names of ``headers`` in any case, the body as text.

    ``through`` names the proxy that it came through, with a comma before it, where it did.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    text: str
    through: str = ""


async def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    secret: str,
    timeout_s: float,
    query: Mapping[str, str] | None = None,
    body: Any = None,
) -> Reply:
    """Send one request, ``body`` as JSON; redirects are not followed, for they would take the secret elsewhere.

    Raises EndpointError, without ``secret`` in it, where no whole reply came back.
    """
    session = await _session()
    proxy = _proxy(session, url)
    through = f", through the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}" if proxy else ""
    try:
        async with session.request(
            method,
            url,
            json=body,
            headers=headers,
            params=query,
            proxy=proxy,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            text = await _read(url, response)
            return Reply(response.status, response.reason or "", response.headers, text, through)
    except TimeoutError as error:
        raise endpoint_error(url, f"no answer within {timeout_s:g} s{through}", retryable=True) from error
    except aiohttp.ClientPayloadError as error:
        raise endpoint_error(url, "the answer was cut short", retryable=True) from error
    except aiohttp.ClientError as error:
        lasting = isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL)
        reason = str(error) or type(error).__name__
        problem = f"the connection failed{through}"
        raise endpoint_error(url, problem, quote=reason, secret=secret, retryable=not lasting) from error


async def retry(ask: Callable[[], Awaitable[_Answer]], *, retries: int) -> _Answer:
    """Await ``ask`` until it answers. Raises its EndpointError once that is final or the retries are used up."""
    attempt = 0
    while True:
        try:
            return await ask()
        except EndpointError as error:
            wait_s = _wait_s(error, attempt)
            if not error.retryable or attempt == retries or wait_s > LONGEST_RETRY_AFTER_S:
                raise
        attempt += 1
        await asyncio.sleep(wait_s)


def status_error(url: str, reply: Reply, *, secret: str, explanation: str, retryable: bool) -> EndpointError:
    """Make the error of a reply whose status is no success."""
    problem = f"HTTP {reply.status} {reply.reason}".strip() + (f", {explanation}" if explanation else "")
    problem += reply.through
    retry_after_s = requested_wait_s(reply.status, reply.headers)
    if retry_after_s is not None:
        problem += f", to be retried after {retry_after_s:.0f} s"
    return endpoint_error(
        url,
        problem,
        quote=reply.text,
        secret=secret,
        status_code=reply.status,
        retryable=retryable,
        retry_after_s=retry_after_s,
    )


def endpoint_error(url: str, problem: str, *, quote: str = "", secret: str = "", **facts: Any) -> EndpointError:
    """Make an error that names the URL without its query and credentials; ``quote`` is what was said there."""
    address = urlsplit(url)
    name = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    return EndpointError(f"{name}: {_without(problem, secret)}{quoted(quote, secret=secret)}", **facts)


def quoted(text: str, *, secret: str = "") -> str:
    """Return ``: text`` as a message may show it: printable, short, without tags and secret; "" for no text."""
    text = re.sub(r"<[^>]*>", " ", _without(text, secret))
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f": {text[:300]}{'…' if len(text) > 300 else ''}" if text else ""


def _without(text: str, secret: str) -> str:
    """Return a text without the secret: where that may be a word, where it stands alone; of three letters, as it is."""
    if len(secret) < _SHORTEST_SECRET:
        return text
    alone = len(secret) < _LONGEST_WORD
    return re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])" if alone else re.escape(secret), "***", text)


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or an HTTP date).

    None where it is neither. A date without a zone is in UTC, as every HTTP date is.
    """
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value, re.ASCII):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())
    except (OverflowError, TypeError, ValueError):
        return None


def requested_wait_s(status: int | None, headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a service asks to be left alone for, None where it does not say.

    retry-after-ms is more exact than Retry-After, and goes first, as in openai's client. A 429 with neither says when
    its limits of requests and of tokens are whole again: the one of which nothing is left counts, else the later.
    ``headers`` are asked in lower case.
    """
    milliseconds = headers.get("retry-after-ms", "")
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", milliseconds, re.ASCII):
        return float(milliseconds) / 1000
    asked_s = parse_retry_after(headers.get("retry-after"))
    if asked_s is not None or status != HTTPStatus.TOO_MANY_REQUESTS:
        return asked_s
    waits_s = {limit: parse_duration(headers.get(f"x-ratelimit-reset-{limit}")) for limit in ("requests", "tokens")}
    known = {limit: wait_s for limit, wait_s in waits_s.items() if wait_s is not None}
    used_up = [known[limit] for limit in known if headers.get(f"x-ratelimit-remaining-{limit}", "").strip() == "0"]
    return max(used_up or known.values(), default=None)


def parse_duration(value: str | None) -> float | None:
    """Return the seconds of ``6ms``, ``1m30s`` or, as Azure writes it, ``26``.

    None where it is no duration; more than a day is the time of a clock.
    """
    text = (value or "").strip()
    if not re.fullmatch(r"\d+(\.\d+)?|(\d+(\.\d+)?(ms|[dhms]))+", text, re.ASCII):
        return None
    units_s = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    duration_s = sum(float(number) * units_s[unit] for number, unit in re.findall(r"([\d.]+)(ms|[dhms]|)", text))
    return duration_s if duration_s <= units_s["d"] else None


def _wait_s(error: EndpointError, attempt: int) -> float:
    """What the endpoint asked for, else exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015)."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    return random.uniform(0.0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**attempt))


async def _read(url: str, response: aiohttp.ClientResponse) -> str:
    """Read the body as its charset says, UTF-8 (with or without a byte-order mark) by default; not past the bound."""
    content = await _content(url, response)
    charset = (response.charset or "utf-8").lower()
    try:
        return content.decode(_CHARSETS[charset])
    except (KeyError, UnicodeDecodeError) as error:
        if response.status < HTTPStatus.BAD_REQUEST:
            raise endpoint_error(url, f"the answer is no text in {charset}", status_code=response.status) from error
        return content.decode("utf-8", "replace")


_being_read: dict[int, bytearray] = {}


async def _content(url: str, response: aiohttp.ClientResponse) -> bytearray:
    content = _being_read[id(response)] = bytearray()
    try:
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                problem = f"the answer is larger than {MAX_ANSWER_BYTES} bytes"
                raise endpoint_error(url, problem, status_code=response.status)
            at_once = sum(map(len, _being_read.values())) if len(content) > MAX_BYTES_AT_ONCE // CONNECTIONS else 0
            if at_once > MAX_BYTES_AT_ONCE:
                problem = (
                    f"the answers of {len(_being_read)} requests at once are larger than {MAX_BYTES_AT_ONCE} bytes"
                )
                raise endpoint_error(url, problem, status_code=response.status)
        return content
    except BaseException:
        content.clear()  # an error lives longer than its request, and this with it
        raise
    finally:
        del _being_read[id(response)]


_proxies: WeakKeyDictionary[aiohttp.ClientSession, dict[str, str | None]] = WeakKeyDictionary()


def _proxy(session: aiohttp.ClientSession, url: str) -> str | None:
    """The environment's proxy for a host elsewhere, looked up once.

    aiohttp's own way reads ~/.netrc too, which would fight our key.
    """
    address = urlsplit(url)
    host = address.hostname or ""
    proxies = _proxies.setdefault(session, {})
    if host not in proxies:
        bypassed = _is_loopback(host) or urllib.request.proxy_bypass(host)
        proxies[host] = None if bypassed else urllib.request.getproxies().get(address.scheme)
    return proxies[host]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_sessions: dict[
    asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]]
] = {}


async def _session() -> aiohttp.ClientSession:
    """Return the running event loop's client, with one pool of connections for all requests of that loop.

    Prompt flow makes a loop for a line (``pf flow test``), for a request (``pf flow serve``) or for a run. The client
    lives in an async generator, because ``asyncio.run`` closes those before it closes the loop: nothing leaks.
    """
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        for other in list(_sessions):
            if other.is_closed():
                _sessions.pop(other, None)
        lifetime = _session_lifetime(loop)
        _sessions[loop] = (await anext(lifetime), lifetime)
    return _sessions[loop][0]


async def _session_lifetime(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[aiohttp.ClientSession, None]:
    connector, no_cookies = aiohttp.TCPConnector(limit=CONNECTIONS), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=no_cookies) as session:
        try:
            yield session
        finally:
            _sessions.pop(loop, None)
