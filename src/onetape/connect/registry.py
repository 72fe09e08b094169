"""A schema registry that speaks Confluent's API: Confluent's own, Karapace, Apicurio.

    registry = Registry("http://127.0.0.1:8081")                      # Confluent, Karapace
    registry = Registry("http://127.0.0.1:8080/apis/ccompat/v7")      # Apicurio
    schema_id = registry.register("trade-value", avro_schema(mk.Trade))
    registry.schema(schema_id)

What an id means never changes, so it is asked for once. Who we are comes from the address, as
`https://user:password@host/`, or from the environment: ONETAPE_REGISTRY_AUTH (user:password),
ONETAPE_REGISTRY_CA and ONETAPE_REGISTRY_CERT (files; the second with our certificate and key).
"""

import base64
import json
import os
import ssl
import time
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from onetape.records import OperatorError, PeerError
from onetape.records.compatibility import MODES

TIMEOUT_S = 5.0  # of one request
WAITS_S = (0.2, 1.0)  # before trying again: no connection, or the server's own trouble
ANSWER_BYTES = 1 << 24
MEDIA = "application/vnd.schemaregistry.v1+json"
NOT_FOUND = 404


class Registered(NamedTuple):
    """A version of a subject. `schema`: a dict of AVRO and JSON, text of PROTOBUF."""

    subject: str
    version: int
    schema_id: int
    kind: str
    schema: Any


class Incompatible(OperatorError):
    """The registry's rule for the subject does not let the schema follow."""


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None  # a password goes to the address it was given for


class Registry:
    """Calls raise OperatorError where the registry cannot be reached or will not; they take a
    bounded time: three requests of `timeout_s`. For one thread."""

    def __init__(
        self,
        url: str,
        *,
        auth: str | None = None,
        ca: str | None = None,
        cert: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OperatorError(
                f"the registry was {url!r}; expected http://HOST:PORT (Apicurio: "
                "http://HOST:PORT/apis/ccompat/v7)"
            )
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self.timeout_s = timeout_s
        given = (
            f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
        )
        auth = auth or given or os.environ.get("ONETAPE_REGISTRY_AUTH")
        self._headers = {"Accept": f"{MEDIA}, application/json", "Content-Type": MEDIA}
        if auth:
            self._headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        handlers: list[Any] = [_NoRedirect()]
        if parts.scheme == "https":
            handlers.append(HTTPSHandler(context=_tls(ca, cert)))
        self._opener = build_opener(*handlers)
        self._by_id: dict[int, Any] = {}
        self._ids: dict[tuple[str, str, str], int] = {}

    def register(self, subject: str, schema: Any, kind: str = "AVRO") -> int:
        """The schema's id; a new version of the subject, if it has no such. Incompatible: why."""
        text = _text(schema)
        known = self._ids.get((subject, kind, text))
        if known is not None:
            return known
        answer = self._ask("POST", f"/subjects/{_quoted(subject)}/versions", _body(text, kind))
        schema_id = self._ids[subject, kind, text] = _whole(answer, "id")
        return schema_id

    def schema(self, schema_id: int) -> Any:
        """The schema with this id. PeerError: the registry has none."""
        if schema_id not in self._by_id:
            answer = self._ask("GET", f"/schemas/ids/{schema_id}", missing=None)
            if answer is None:
                raise PeerError(f"no schema has the id {schema_id} in {self.url}")
            self._by_id[schema_id] = _parsed(answer)
        return self._by_id[schema_id]

    def subjects(self) -> list[str]:
        return sorted(map(str, self._ask("GET", "/subjects")))

    def history(self, subject: str) -> list[Registered]:
        """Its versions, oldest first; none if there is no such subject."""
        numbers = self._ask("GET", f"/subjects/{_quoted(subject)}/versions", missing=[])
        return [self.version(subject, int(number)) for number in sorted(numbers)]

    def version(self, subject: str, number: int | str = "latest") -> Registered:
        answer = self._ask("GET", f"/subjects/{_quoted(subject)}/versions/{number}")
        kind = str(answer.get("schemaType") or "AVRO")
        place = _whole(answer, "version"), _whole(answer, "id")
        return Registered(subject, *place, kind, _parsed(answer))

    def lookup(self, subject: str, schema: Any, kind: str = "AVRO") -> Registered | None:
        """Under which version and id the subject has this very schema; None: it has not."""
        found = self._ask("POST", f"/subjects/{_quoted(subject)}", _body(_text(schema), kind), None)
        if found is None:
            return None
        place = _whole(found, "version"), _whole(found, "id")
        return Registered(subject, *place, kind, schema)

    def compatibility(self, subject: str | None = None) -> str | None:
        """The rule, one of `MODES`: the subject's own (None: it has none), or the registry's."""
        path = "/config" if subject is None else f"/config/{_quoted(subject)}"
        answer = self._ask("GET", path, missing=None)
        if answer is None:
            return None
        mode = str(answer.get("compatibilityLevel") or answer.get("compatibility")).lower()
        if mode not in MODES:
            raise PeerError(f"{self.url}{path} answered {answer}; expected a compatibility level")
        return mode

    def set_compatibility(self, mode: str, subject: str | None = None) -> None:
        path = "/config" if subject is None else f"/config/{_quoted(subject)}"
        self._ask("PUT", path, {"compatibility": mode.upper()})

    def is_compatible(self, subject: str, schema: Any, kind: str = "AVRO") -> bool:
        """What the registry itself says, by its rule for the subject; True where it has none."""
        path = f"/compatibility/subjects/{_quoted(subject)}/versions"
        answer = self._ask("POST", path, _body(_text(schema), kind), {"is_compatible": True})
        return bool(answer.get("is_compatible"))

    def _ask(self, method: str, path: str, body: Any = None, missing: Any = ...) -> Any:
        """The answer to one request; `missing`, where it is given, if there is no such thing."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, self._headers, method=method)
        for wait_s in (*WAITS_S, None):
            try:
                with self._opener.open(request, timeout=self.timeout_s) as answer:
                    return _json(answer.read(ANSWER_BYTES), self.url + path)
            except HTTPError as error:
                with error:
                    said = error.read(ANSWER_BYTES)
                if error.code == NOT_FOUND and missing is not ...:
                    return missing
                if error.code < 500 or wait_s is None:
                    raise self._refused(method, path, error, said) from None
            except (URLError, HTTPException, OSError) as error:
                if wait_s is None or _is_final(error):
                    why = getattr(error, "reason", None) or error
                    raise OperatorError(
                        f"the schema registry {self.url} does not answer: {why}; is it there, and "
                        f"is this its address? (asked {len(WAITS_S) + 1} times, "
                        f"{self.timeout_s:g} s each at most)"
                    ) from None
            time.sleep(wait_s)
        raise AssertionError

    def _refused(self, method: str, path: str, error: HTTPError, said: bytes) -> OperatorError:
        try:
            what = str(json.loads(said)["message"])
        except (ValueError, KeyError, TypeError):
            what = said[:200].decode("utf-8", "replace") or str(error.reason)
        if error.code == 409:
            return Incompatible(f"{self.url}{path}: the schema registry refuses the schema: {what}")
        hint = {
            401: "; give user:password in ONETAPE_REGISTRY_AUTH",
            403: "; this user may not",
            404: "; is the address whole? Apicurio's ends in /apis/ccompat/v7",
        }.get(error.code, "")
        return OperatorError(f"{method} {self.url}{path}: {error.code} {what}{hint}")


def _tls(ca: str | None, cert: str | None) -> ssl.SSLContext:
    ca = ca or os.environ.get("ONETAPE_REGISTRY_CA")
    cert = cert or os.environ.get("ONETAPE_REGISTRY_CERT")
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if cert:
            context.load_cert_chain(cert)
    except OSError as error:  # ssl.SSLError is one
        files = " and ".join(filter(None, [ca, cert]))
        raise OperatorError(
            f"the certificates for the schema registry, {files}, cannot be used: {error}; "
            "expected PEM files"
        ) from None
    return context


def _is_final(error: BaseException) -> bool:
    """A certificate that is not trusted is not trusted the next time either."""
    return isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)


def _text(schema: Any) -> str:
    return schema if isinstance(schema, str) else json.dumps(schema)


def _body(text: str, kind: str) -> dict[str, str]:
    return {"schema": text} | ({} if kind == "AVRO" else {"schemaType": kind})


def _parsed(answer: Any) -> Any:
    text, kind = str(answer.get("schema")), str(answer.get("schemaType") or "AVRO")
    if kind == "PROTOBUF":
        return text
    return _json(text.encode(), f"schema {answer.get('id', '')}")


def _json(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise PeerError(
            f"{where} answered {raw[:80]!r}; expected JSON: is it a schema registry's address?"
        ) from None


def _whole(answer: Any, name: str) -> int:
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, int):
        raise PeerError(f"the schema registry answered {str(answer)[:200]}; expected {name!r}")
    return found


def _quoted(subject: str) -> str:
    return quote(subject, safe="")
