"""The API of an Azure OpenAI resource, by the openai package: files, fine-tuning jobs and models.

What the package lacks or takes for granted stands here: Azure's own states, nulls where it promises lists, and that a
job or a file whose answer was lost is not made a second time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from phi3flow.azure.arm import USER_AGENT, nobody_logged_in
from phi3flow.azure.openai.refusals import KEY_VARIABLE, refusal
from phi3flow.errors import AzureError, MissingExtraError
from phi3flow.text import cut

if TYPE_CHECKING:
    from openai import OpenAI
    from pydantic import SecretStr

_SCOPE, _PROJECT_SCOPE = "https://cognitiveservices.azure.com/.default", "https://ai.azure.com/.default"
RETRIES = 8
"""How often a request that does no harm when it is repeated is sent again."""
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Between attempts at what must not be made twice."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_RETRY_AFTER_S = 180.0
MOST_EVENTS = 100
"""Of a job, in one answer."""
UNUSABLE = ("error", "deleting", "deleted")
"""States of a file that no job can read."""


@dataclass(frozen=True)
class Address:
    """Where the API is, ``base_url`` ending in /openai/v1, and the key; without one the caller's login is used."""

    base_url: str
    key: SecretStr | None

    @property
    def scope(self) -> str:
        """What a token is asked for: a Foundry project's routes take others than those of its resource."""
        return _PROJECT_SCOPE if "/api/projects/" in self.base_url else _SCOPE


class OpenAIService:
    """Files, jobs and models of a resource. Every method raises AzureError that says what was asked, and what to do.

    What comes back is what Azure said, as JSON.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    @cached_property
    def _client(self) -> OpenAI:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise MissingExtraError("azure", error) from error
        return OpenAI(
            base_url=self.address.base_url,
            api_key=self.address.key.get_secret_value() if self.address.key else _login(self.address.scope),
            max_retries=RETRIES,
            default_headers={"User-Agent": USER_AGENT},
        )

    def files(self) -> list[dict[str, Any]]:
        """Return every file of the resource."""
        with self._asked("the list of files"):
            return [_plain(file) for file in self._client.files.list(purpose="fine-tune")]

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Upload a file for fine-tuning under a name, unless one of that name is there; it may not be processed yet."""

        def find() -> dict[str, Any] | None:
            named = [file for file in self.files() if file.get("filename") == name]
            return next((file for file in named if file.get("status") not in UNUSABLE), None)

        def create() -> Any:
            client = self._client.with_options(max_retries=0)
            return client.files.create(file=(name, content, "application/jsonl"), purpose="fine-tune")

        return self._once(f"upload of {name}", find, create)

    def file(self, file_id: str) -> tuple[dict[str, Any] | None, float | None]:
        """Return a file, None where there is none, and how many seconds Azure asks to wait before the next look."""
        files = self._client.files.with_raw_response
        return self._look(f"file {file_id}", lambda: files.retrieve(file_id))

    def content(self, file_id: str) -> bytes | None:
        """Return what a file holds, None where there is none of the id."""
        action, files = f"content of file {file_id}", self._client.files
        content: bytes | None = self._read(action, lambda: files.content(file_id), take=lambda answer: answer.content)
        return content

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone already is no error."""
        self._delete(f"file {file_id}", lambda: self._client.files.delete(file_id))

    def jobs(self) -> list[dict[str, Any]]:
        """Return every fine-tuning job of the resource, newest first."""
        with self._asked("the list of jobs"):
            return [_plain(job) for job in self._client.fine_tuning.jobs.list()]

    def create_job(
        self, body: Mapping[str, Any], extra: Mapping[str, Any], find: Callable[[], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Submit a job unless ``find`` gives it; ``extra`` are fields that Azure has and the package has not."""

        def create() -> Any:
            client = self._client.with_options(max_retries=0)
            return client.fine_tuning.jobs.create(**body, extra_body=dict(extra))

        return self._once("fine-tuning job", find, create)

    def job(self, job_id: str) -> tuple[dict[str, Any] | None, float | None]:
        """Return a job, None where there is none, and how many seconds Azure asks to wait before the next look."""
        jobs = self._client.fine_tuning.jobs.with_raw_response
        return self._look(f"job {job_id}", lambda: jobs.retrieve(job_id))

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return a job's last events, newest first."""
        with self._asked(f"events of job {job_id}"):
            page = self._client.fine_tuning.jobs.list_events(job_id, limit=MOST_EVENTS)
            return [_plain(event) for event in page.data or []]

    def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        """Return the checkpoints that are kept of a job."""
        with self._asked(f"checkpoints of job {job_id}"):
            return [
                _plain(checkpoint) for checkpoint in self._client.fine_tuning.jobs.checkpoints.list(job_id).data or []
            ]

    def cancel(self, job_id: str) -> None:
        """Have a job end."""
        with self._asked(f"cancellation of job {job_id}"):
            self._client.fine_tuning.jobs.cancel(job_id)

    def delete_job(self, job_id: str) -> None:
        """Delete a job, which the package has no method for; one that is gone already is no error."""
        self._delete(f"job {job_id}", lambda: self._client.delete(f"/fine_tuning/jobs/{job_id}", cast_to=object))

    def models(self) -> list[dict[str, Any]]:
        """Return the models that the resource's region has, and those that were fine-tuned in the resource."""
        with self._asked("the list of models"):
            return [_plain(model) for model in self._client.models.list()]

    def delete_model(self, name: str) -> None:
        """Delete a fine-tuned model; one that is gone already is no error."""
        self._delete(f"model {name}", lambda: self._client.models.delete(name))

    def token(self) -> SecretStr:
        """Return a token of the caller's login, for requests that the package does not send."""
        from pydantic import SecretStr

        with self._asked("login"):
            return SecretStr(_login(self.address.scope)())

    def _look(self, action: str, call: Callable[[], Any]) -> tuple[dict[str, Any] | None, float | None]:
        """Return what a raw answer holds, None where what it is about is not there, and how long it asks to wait."""
        raw = self._read(action, call, take=lambda raw: raw)
        return (None, None) if raw is None else (_plain(raw.parse()), _retry_after_s(raw.headers))

    def _read(self, action: str, call: Callable[[], Any], *, take: Callable[[Any], Any] | None = None) -> Any:
        """Return what a call answers, None where what it is about is not there."""
        try:
            with self._asked(action):
                return (take or _plain)(call())
        except AzureError as error:
            if error.status != 404:
                raise
            return None

    def _delete(self, what: str, call: Callable[[], Any]) -> None:
        """Delete something; what is gone already is no error."""
        self._read(f"deletion of {what}", call, take=lambda _: None)

    def _once(
        self, action: str, find: Callable[[], dict[str, Any] | None], create: Callable[[], Any]
    ) -> dict[str, Any]:
        """Create something unless it is there, and look again before each further attempt: an answer may be lost."""
        for wait_s in (*_WAITS_S, None):
            existing = find()
            if existing is not None:
                return existing
            try:
                with self._asked(action):
                    return _plain(create())
            except AzureError as error:
                if wait_s is None or not _will_pass(error):
                    raise
                headers = getattr(getattr(error.__cause__, "response", None), "headers", {})
                time.sleep(min(_retry_after_s(headers) or wait_s, _LONGEST_RETRY_AFTER_S))
        raise AssertionError(action)

    @contextlib.contextmanager
    def _asked(self, action: str) -> Iterator[None]:
        """Turn what the package raises into AzureError about ``action``."""
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            by_key = self.address.key is not None
            refused = refusal(f"Azure OpenAI: {action}", error.status_code, error.body, error.message, by_key=by_key)
            raise refused from error
        except openai.APIConnectionError as error:
            reason = cut(str(error.__cause__ or error), 200)
            raise AzureError(f"Azure OpenAI: {action}: {self.address.base_url} cannot be reached ({reason})") from error
        except openai.OpenAIError as error:
            raise AzureError(f"Azure OpenAI: {action}: {cut(str(error), 300)}") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "azure":  # azure-identity's need not be installed for a key
                raise
            login = f"{nobody_logged_in(str(error))}, or {KEY_VARIABLE}"
            raise AzureError(f"Azure OpenAI: {action}: {login}", status=401) from error


def _login(scope: str) -> Callable[[], str]:
    try:
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider
    except ImportError as error:
        raise MissingExtraError("azure", error) from error
    return get_bearer_token_provider(DefaultAzureCredential(), scope)


def _plain(answer: Any) -> dict[str, Any]:
    """Return an answer as JSON, with what the package does not know of it."""
    if isinstance(answer, Mapping):
        return dict(answer)
    plain: dict[str, Any] = answer.model_dump(mode="json", warnings=False)
    return plain


def _will_pass(error: AzureError) -> bool:
    """Whether a creation may succeed later: a throttle, a fault of the service, or a connection that broke."""
    import openai

    broke = isinstance(error.__cause__, openai.APIConnectionError)
    return broke or (error.status in _PASSING and error.code.lower() != "quotaexceeded")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if value.isdigit() and int(value):
            return int(value) * unit_s
    return None
