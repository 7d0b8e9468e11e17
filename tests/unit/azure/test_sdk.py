"""Whatever azure-ai-ml raises becomes one sentence."""

from __future__ import annotations

import sys

import pytest

from phi3flow.azure.workspace.sdk import persistently, refusals
from phi3flow.errors import AzureError, ConfigError

COLOURED = "\x1b[39m\x1b[39m\n\x1b[31m\n1) Invalid value.\x1b[39m\n\nDetails: many\n\x1b[39m"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("cannot schedule new futures\nafter shutdown"), "RuntimeError: cannot schedule new futures"),
        (AttributeError("'NoneType' object has no attribute 'id'"), "AttributeError: 'NoneType' object has no"),
        (KeyError("name"), "KeyError: 'name'"),
        (ValueError(COLOURED), "ValueError: 1) Invalid value."),
        (ValueError(), "ValueError: no reason given"),
    ],
)
def test_an_error_of_any_kind_is_one_sentence(error: Exception, said: str) -> None:
    with pytest.raises(AzureError) as caught, refusals("model x"):
        raise error
    assert str(caught.value).startswith("model x: azure-ai-ml failed with ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.slow
def test_an_error_of_the_sdks_validation_is_told_without_its_colours() -> None:
    from azure.ai.ml.exceptions import ValidationException

    with pytest.raises(AzureError, match=r"^job x: 1\) Invalid value\.$"), refusals("job x"):
        raise ValidationException(message=COLOURED, no_personal_data_message="")


def test_our_own_errors_and_missing_packages_pass() -> None:
    for error in (ConfigError("ours"), ImportError("azure-ai-ml")):
        with pytest.raises(type(error)) as caught, refusals("anything"):
            raise error
        assert caught.value is error


def test_a_circle_of_errors_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first

    def fail() -> None:
        raise first

    with pytest.raises(AzureError):
        persistently("x", fail)
    assert sys.exc_info() == (None, None, None)
