"""Errors read from each backend and written in each dialect. botocore and the official SDK judge what is written."""

import gzip
import json
from typing import Any

import anthropic
import botocore.parsers
import botocore.session
import httpx2
import pytest
from anthropic.lib.bedrock import AnthropicBedrock
from anthropic.lib.vertex import AnthropicVertex

from gateway.core.wire.faults import (
    Fault,
    Written,
    embedded_fault,
    exception_of,
    passes,
    read_exception,
    read_fault,
    write_fault,
)
from gateway.core.wire.shapes import SHAPES, Shape
from tests.gateway.core.wire.faultcases import CASES, Case

ENVELOPE = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"}}'
SENTENCE = "Rule 'no-prod' denies this; ask for an exception."
TYPES = {
    400: "invalid_request_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

bedrock_runtime = botocore.session.Session().get_service_model("bedrock-runtime")


def flat(message: str) -> bytes:
    return json.dumps({"message": message}).encode()


def google(status: str, message: str = "no", code: int = 400) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "status": status}}).encode()


def boto_error(written: Written) -> dict[str, Any]:
    """What botocore makes of an answer to InvokeModel."""
    parser = botocore.parsers.create_parser(bedrock_runtime.protocol)
    headers = {name.lower(): value for name, value in written.headers}
    answer = {"status_code": written.status, "headers": headers, "body": written.body}
    return parser.parse(answer, bedrock_runtime.operation_model("InvokeModel").output_shape)["Error"]


def sdk_error(dialect: Shape, written: Written) -> anthropic.APIStatusError:
    """What the official SDK raises for it."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(written.status, headers=list(written.headers), content=written.body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    build = {
        "anthropic": lambda: anthropic.Anthropic(api_key="k", http_client=http, max_retries=0),
        "bedrock": lambda: AnthropicBedrock(api_key="k", aws_region="us-east-1", http_client=http, max_retries=0),
        "vertex": lambda: AnthropicVertex(
            access_token="k", project_id="p", region="global", http_client=http, max_retries=0
        ),
    }
    with build[dialect]() as client, pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(model="claude-opus-4-8", max_tokens=1, messages=[{"role": "user", "content": "hi"}])
    return raised.value


@pytest.mark.parametrize("case", CASES, ids=str)
def test_error_of_a_backend_reads_as_its_fault(case: Case) -> None:
    fault = read_fault(case.shape, case.status, case.headers, case.body)
    assert (fault.status, fault.error_type, fault.message) == case.fault


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dialect", SHAPES)
def test_account_of_the_operator_reaches_no_client(case: Case, dialect: Shape) -> None:
    fault = read_fault(case.shape, case.status, case.headers, case.body)
    written = write_fault(dialect, fault, "dec_1").body.decode()
    for secret in ("123456789012", "arn:aws", "acme", "836402857201", "11111111-", "vpce-", "10.0.0.7", "assumed-role"):
        assert secret not in written
        assert secret.encode() not in case.body or not passes(dialect, case.shape, case.body)


def test_only_headers_of_every_dialect_survive() -> None:
    sent = [("Retry-After", "7"), ("Anthropic-RateLimit-Tokens-Reset", "t"), ("x-should-retry", "true")]
    fault = read_fault("anthropic", 429, [*sent, ("cf-ray", "1"), ("content-type", "text/html")], ENVELOPE)
    assert fault.headers == tuple((name.lower(), value) for name, value in sent)


def test_refused_upstream_credential_is_not_tried_again_for_minutes() -> None:
    assert ("x-should-retry", "false") in read_fault("vertex", 401, [], google("UNAUTHENTICATED")).headers
    assert read_fault("anthropic", 401, [("x-should-retry", "true")], b"").headers == (("x-should-retry", "true"),)


def test_compressed_error_is_read_within_bounds() -> None:
    assert (
        read_fault("bedrock", 400, [], gzip.compress(flat("temperature: too high"))).message == "temperature: too high"
    )
    bomb = gzip.compress(flat("x" * 50_000_000))
    assert "no reason" in read_fault("bedrock", 400, [], bomb).message


def test_message_is_bounded_whatever_its_length() -> None:
    assert len(read_fault("bedrock", 400, [], flat("a" * 100_000)).message) == 4_000
    assert "no reason" in read_fault("bedrock", 400, [], flat("a" * 300_000)).message


@pytest.mark.parametrize(
    ("dialect", "shape", "body"),
    [
        ("anthropic", "anthropic", ENVELOPE),
        ("anthropic", "vertex", ENVELOPE),
        ("vertex", "vertex", ENVELOPE),
        ("vertex", "vertex", google("RESOURCE_EXHAUSTED")),
        ("vertex", "vertex", b"[" + google("INVALID_ARGUMENT") + b"]"),
        ("bedrock", "bedrock", flat("Malformed input request")),
    ],
)
def test_error_in_the_clients_dialect_passes_as_it_came(dialect: Shape, shape: Shape, body: bytes) -> None:
    assert passes(dialect, shape, body)
    assert not passes(dialect, shape, gzip.compress(body))


@pytest.mark.parametrize(
    ("dialect", "shape", "body"),
    [
        ("bedrock", "anthropic", ENVELOPE),
        ("bedrock", "vertex", flat("x")),
        ("anthropic", "bedrock", flat("x")),
        ("anthropic", "anthropic", b"[" + ENVELOPE + b"]"),
        ("vertex", "vertex", google("UNAVAILABLE", "//aiplatform.googleapis.com/projects/acme-1/locations/eu")),
        ("bedrock", "bedrock", flat("arn:aws:bedrock:eu-west-1:123456789012:x/y")),
        ("bedrock", "bedrock", b'{"message":"arn\\u003aaws:bedrock:eu-west-1:1:x"}'),
        ("bedrock", "bedrock", b'{"message":"arn:aws:iam::1:role/x","message":"fine"}'),
        ("vertex", "vertex", google("INTERNAL", json.dumps(json.loads(ENVELOPE)))),
        ("anthropic", "anthropic", b"<html>"),
        ("anthropic", "anthropic", b""),
    ],
)
def test_error_that_is_not_or_that_tells_too_much_is_held_back(dialect: Shape, shape: Shape, body: bytes) -> None:
    assert not passes(dialect, shape, body)


def test_words_on_the_gateways_credential_are_held_back() -> None:
    refused = ENVELOPE.replace(b"invalid_request_error", b"authentication_error")
    assert not passes("anthropic", "anthropic", refused) and not passes("vertex", "vertex", google("PERMISSION_DENIED"))
    expired = flat("The security token included in the request is expired")
    assert passes("bedrock", "bedrock", expired) and not passes("bedrock", "bedrock", expired, status=403)


def test_upstreams_own_refusal_of_a_model_passes() -> None:
    body = ENVELOPE.replace(b"invalid_request_error", b"permission_error")
    assert passes("anthropic", "anthropic", body, status=403)


@pytest.mark.parametrize(
    ("status", "error_type", "code", "at"),
    [
        (400, "invalid_request_error", "ValidationException", 400),
        (400, "rate_limit_error", "ServiceQuotaExceededException", 400),
        (401, "authentication_error", "AccessDeniedException", 401),
        (403, "permission_error", "AccessDeniedException", 403),
        (404, "not_found_error", "ResourceNotFoundException", 404),
        (413, "request_too_large", "ValidationException", 413),
        (429, "rate_limit_error", "ThrottlingException", 429),
        (429, "billing_error", "ServiceQuotaExceededException", 429),
        (451, "permission_error", "AccessDeniedException", 451),
        (500, "api_error", "InternalServerException", 500),
        (502, "api_error", "InternalServerException", 502),
        (504, "timeout_error", "ModelTimeoutException", 408),
        (529, "overloaded_error", "ServiceUnavailableException", 503),
        (422, "brand_new_error", "ValidationException", 422),
    ],
)
def test_botocore_reads_the_exception_and_the_sentence(status: int, error_type: str, code: str, at: int) -> None:
    written = write_fault("bedrock", Fault(status, error_type, SENTENCE, (("retry-after", "9"),)), "dec_1")
    assert boto_error(written) == {"Message": SENTENCE, "Code": code}
    assert written.status == at and {("retry-after", "9"), ("x-amzn-RequestId", "dec_1")} < set(written.headers)


@pytest.mark.parametrize(
    ("status", "word", "at"),
    [
        (400, "INVALID_ARGUMENT", 400),
        (403, "PERMISSION_DENIED", 403),
        (404, "NOT_FOUND", 404),
        (409, "ABORTED", 409),
        (429, "RESOURCE_EXHAUSTED", 429),
        (500, "INTERNAL", 500),
        (504, "DEADLINE_EXCEEDED", 504),
        (529, "UNAVAILABLE", 503),
    ],
)
def test_google_shape_says_status_and_word(status: int, word: str, at: int) -> None:
    written = write_fault("vertex", Fault(status, TYPES[status], SENTENCE), "dec_1")
    assert json.loads(written.body) == {"error": {"code": at, "message": SENTENCE, "status": word}}
    assert written.status == at


@pytest.mark.parametrize("dialect", SHAPES)
def test_refusal_keeps_status_and_sentence_in_every_dialect(dialect: Shape) -> None:
    written = write_fault(dialect, Fault(451, "permission_error", SENTENCE, (("x-should-retry", "false"),)), "dec_1")
    assert written.status == 451 and ("x-should-retry", "false") in written.headers
    assert SENTENCE in written.body.decode() and ("request-id", "dec_1") in written.headers


@pytest.mark.parametrize("dialect", SHAPES)
@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, anthropic.BadRequestError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
    ],
)
def test_sdk_raises_its_own_error_with_the_sentence(
    dialect: Shape, status: int, raised: type[anthropic.APIStatusError]
) -> None:
    error = sdk_error(dialect, write_fault(dialect, Fault(status, TYPES[status], SENTENCE), "dec_1"))
    assert type(error) is raised and SENTENCE in str(error)
    assert error.request_id == "dec_1" and (dialect == "bedrock" or error.api_message == SENTENCE)


@pytest.mark.parametrize("dialect", SHAPES)
@pytest.mark.parametrize("status", [status for status in TYPES if status != 402])
def test_own_error_read_back_by_another_gateway_is_the_same(dialect: Shape, status: int) -> None:
    fault = Fault(status, TYPES[status], SENTENCE)
    written = write_fault(dialect, fault, "dec_1")
    read = read_fault(dialect, written.status, written.headers, written.body)
    assert (read.status, read.error_type) == (status, fault.error_type)


@pytest.mark.parametrize(
    ("exception", "error_type"),
    [
        ("throttlingException", "rate_limit_error"),
        ("validationException", "invalid_request_error"),
        ("internalServerException", "api_error"),
        ("modelStreamErrorException", "api_error"),
        ("modelTimeoutException", "timeout_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("InternalFailure", "api_error"),
        ("", "api_error"),
    ],
)
def test_exception_in_a_stream_reads_as_its_type(exception: str, error_type: str) -> None:
    assert read_exception(exception, "role arn:aws:iam::123456789012:role/x") == (error_type, "role [arn]")


def test_exception_without_a_message_still_says_what_to_do() -> None:
    assert (
        read_exception("throttlingException", "")[1]
        == "Amazon Bedrock is limiting the gateway's requests. Try again in a moment."
    )


def test_envelope_inside_an_exception_is_what_counts() -> None:
    said = '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert read_exception("modelStreamErrorException", said) == ("overloaded_error", "Overloaded")


def test_every_type_has_an_exception_that_botocore_knows() -> None:
    known = set(bedrock_runtime.shape_for("ResponseStream").members) - {"chunk"}
    assert {exception_of(error_type) for error_type in (*TYPES.values(), "authentication_error", "new_error")} == known


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"msg_1","type":"message","role":"assistant","content":[]}',
        b' {\n "type" : "message", "content": [], "error": {"message": "said by the model"}}',
        b'{"model":"claude-opus-4-8","id":"msg_1","type":"message","content":[{"type":"text","text":"{\\"error\\""}]}',
        b'{"stop_sequence":null,"type":"message","content":[]}',
        b'{"inputTokens":3}',
        b"<html>",
        b"[]",
        b"",
    ],
)
def test_answer_that_is_no_error_has_no_fault(shape: Shape, body: bytes) -> None:
    assert embedded_fault(shape, body) is None


@pytest.mark.parametrize(
    ("shape", "body", "status", "error_type"),
    [
        ("anthropic", ENVELOPE, 400, "invalid_request_error"),
        ("anthropic", ENVELOPE.replace(b"invalid_request", b"overloaded"), 529, "overloaded_error"),
        ("anthropic", ENVELOPE.replace(b"invalid_request", b"brand_new"), 502, "brand_new_error"),
        ("vertex", google("RESOURCE_EXHAUSTED", code=429), 429, "rate_limit_error"),
        ("vertex", b"[" + google("UNAVAILABLE", code=503) + b"]", 529, "overloaded_error"),
        ("vertex", b'{"error":{"code":503,"message":"no word"}}', 529, "overloaded_error"),
        ("bedrock", b'{"__type":"x#ThrottlingException","message":"slow"}', 429, "rate_limit_error"),
        ("bedrock", flat("something broke"), 502, "api_error"),
        ("anthropic", b'{"error":"unauthorized_client"}', 502, "api_error"),
    ],
)
def test_error_that_came_with_200_has_the_status_it_should_have(
    shape: Shape, body: bytes, status: int, error_type: str
) -> None:
    fault = embedded_fault(shape, body)
    assert fault is not None and (fault.status, fault.error_type) == (status, error_type)
