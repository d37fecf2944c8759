r"""What a service says is repeated on one line, printable, short and without the token."""

import base64
import pickle
from urllib.parse import quote

import pytest

from qahm_torch.device import AnnealerError, AnnealerWarning, RejectedError
from qahm_torch.device.credentials import refuse_configured, refuse_credentials
from qahm_torch.device.protocol import is_problem_id
from qahm_torch.device.redaction import (
    cleaned,
    quoted,
    remember,
    remember_config,
    tidied,
    without_credentials,
)

TOKEN = "REDACT-5e1f+/=credential"
EVIL = f"\x1b[31m\x9b2J{TOKEN}\r\nINFO: all is well\u2028\u202e\x00{3000 * 'x'}"


@pytest.fixture(autouse=True)
def _known():
    remember(TOKEN)


FORMS = [
    TOKEN,
    TOKEN.lower(),
    f"Bearer {TOKEN}",
    f"https://host/?key={quote(TOKEN, safe='')}",
    repr({"X-Auth-Token": TOKEN.encode()}),
    base64.b64encode(TOKEN.encode()).decode(),
]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_token_is_hidden(form):
    assert "[credentials]" in cleaned(f"before {form} after")
    assert TOKEN.lower() not in cleaned(form).lower()
    assert cleaned(f"before {TOKEN[:-3]} after") == f"before {TOKEN[:-3]} after"  # the twin


def test_a_token_that_is_cut_is_not_left_in_half():
    for limit in range(5, 60):
        assert TOKEN[:6] not in quoted(f"{20 * 'x'}{TOKEN}", limit)


def test_a_message_is_one_printable_line():
    for text in (
        cleaned(EVIL),
        quoted(EVIL),
        str(RejectedError(EVIL)),
        str(AnnealerWarning(EVIL)),
    ):
        assert text.isprintable() and TOKEN not in text and len(text) <= 2000
        assert r"\r\nINFO: all is well" in text or len(text) <= 200
    assert len(quoted(EVIL)) == 200
    assert (
        cleaned("an ordinary text, as it is: é 'ß' \\n") == "an ordinary text, as it is: é 'ß' \\n"
    )


def test_cleaning_twice_changes_nothing():
    assert cleaned(cleaned(EVIL)) == cleaned(EVIL)
    error = RejectedError(EVIL, "an-id")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and copy.problem_id == "an-id"


NAMED = [
    "{'token': 'UNKNOWN-1'}",
    "ClientConfig(token='UNKNOWN-2', proxy=None)",
    "{'X-Auth-Token': 'UNKNOWN-3', 'Accept': 'json'}",
    "Authorization: Bearer UNKNOWN-4",
    '{"api_token": "UNKNOWN-5"}',
    "DWAVE_API_TOKEN=UNKNOWN-6",
    "{'token': 'UNKNOWN 7 with blanks'}",
    "proxy='http://user:UNKNOWN-8@proxy:8080'",
]


@pytest.mark.parametrize("text", NAMED)
def test_a_credential_that_is_called_so_is_hidden(text):
    assert "UNKNOWN" in cleaned(text)  # the twin: not known before
    assert "UNKNOWN" not in without_credentials(text) and "blanks" not in without_credentials(text)


def test_words_are_no_credentials():
    for text in ("token=None, tokens: 3 of 4", "a token is missing", "no password, no token"):
        assert without_credentials(text) == text


def test_what_is_called_a_token_once_is_known_from_then_on():
    assert cleaned("this is LEARNED-98765") == "this is LEARNED-98765"
    without_credentials("{'token': 'LEARNED-98765'}")
    assert cleaned("this is LEARNED-98765") == "this is [credentials]"


def test_a_configuration_tells_its_secrets():
    remember_config(
        {
            "token": "CONFIG-token-1",
            "headers": {"X": "CONFIG-header-2"},
            "proxy": "http://me:CONFIG-proxy-3@proxy",
        }
    )
    assert cleaned("CONFIG-token-1 CONFIG-header-2 CONFIG-proxy-3") == " ".join(
        3 * ["[credentials]"]
    )
    remember(None, 7, "", "abc")
    assert cleaned("abc 7") == "abc 7"


def test_the_token_of_the_environment_is_known(monkeypatch):
    assert cleaned("ENVIRONMENT-token-4") == "ENVIRONMENT-token-4"
    monkeypatch.setenv("DWAVE_API_TOKEN", "ENVIRONMENT-token-4")
    assert cleaned("ENVIRONMENT-token-4") == "[credentials]"


def test_numbers_of_a_service_are_kept_and_its_texts_cleaned():
    told = tidied({"qpu_access_time": 12.5, EVIL: 1, "note": EVIL, "list": [1, EVIL], "more": {}})
    assert told["qpu_access_time"] == 12.5 and told["list"] == [1]
    assert TOKEN not in repr(told) and "\x1b" not in "".join(map(str, told))
    assert tidied("nothing") is None


@pytest.mark.parametrize("bad", [TOKEN, EVIL, "../problems", "a?b", "", "x" * 101, 7, None])
def test_a_problem_id_is_plain(bad):
    assert not is_problem_id(bad)
    assert is_problem_id("0f3c-44d2_a.1")


NESTED = [
    {"token": "ABC"},
    {"defaults": {"token": "ABC"}},
    {"defaults": [{"deep": ({"token": "ABC"},)}]},
    {"defaults": [["token", "ABC"]]},
    {"api_token": "ABC"},
    {"more": [{"X-Auth-Token": "ABC"}]},
    {"more": ["X-Auth-Token: ABC"]},
    {"more": [{"headers": ["ABC"]}]},
    {"client_cert_key": "ABC"},
    {"child": {"class_path": "dwave.system.DWaveSampler", "init_args": {"password": "ABC"}}},
    {"solver": [f"name {TOKEN}"]},
    {TOKEN: 1},
    {"proxies": ["http://user:ABC@proxy:8080"]},
]


@pytest.mark.parametrize("arguments", NESTED, ids=str)
def test_credentials_are_refused_at_any_depth(arguments):
    with pytest.raises(ValueError, match="credentials come only from D-Wave's own") as caught:
        refuse_credentials(arguments)
    assert "ABC" not in str(caught.value) and TOKEN not in str(caught.value)
    config = {"model": [{"class_path": "dwave.system.DWaveSampler", "init_args": arguments}]}
    with pytest.raises(ValueError, match="credentials come only from D-Wave's own"):
        refuse_configured(config)


def test_what_is_no_credential_is_taken():
    arguments = {"solver": {"topology__type": "zephyr"}, "region": "eu-central-1", "token": None}
    arguments |= {"num_tokens": 3, "tokenize": True, "endpoint": "https://host:443/sapi/v2/"}
    refuse_credentials(arguments)
    refuse_configured({"data": {"class_path": "mine.Data", "init_args": {"headers": ["a"]}}})


def test_errors_hold_nothing_but_what_they_say():
    error = AnnealerError(EVIL)
    assert set(vars(error)) == {"problem_id", "may_have_run", "unread"} and error.unread == {}
    assert TOKEN not in repr(error) and TOKEN.encode() not in pickle.dumps(error)
