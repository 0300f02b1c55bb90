"""What is taken out of a text, and what stays."""

import pytest

from gateway.core.wire.redaction import redact

GUID = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("profile arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x-v1:0. Retry", "profile [arn]. Retry"),
        ("GET /model/arn%3Aaws-us-gov%3Abedrock%3Ax%3A1%3Ay%2Fz/invoke", "GET /model/[arn]"),
        ("assets-123456789012-us-east-1", "assets-[account]-us-east-1"),
        ("gateway@acme-prod-1.iam.gserviceaccount.com lacks it", "[account] lacks it"),
        (
            "on '//x.googleapis.com/projects/acme-1/locations/eu'",
            "on '//x.googleapis.com/projects/[project]/locations/eu'",
        ),
        ("projects%2F836402857201%2Flocations", "projects/[project]"),
        ("not used in project 836402857 before", "not used in [project] before"),
        ("overview?project=acme-prod-1 then", "overview?[project] then"),
        ("consumer 'project_number:836402857'", "consumer '[project]'"),
        (f"/subscriptions/{GUID}/resourceGroups/rg1/providers/x failed", "[azure-resource] failed"),
        (f"https://login.microsoftonline.com/{GUID}/oauth2", "https://login.microsoftonline.com[azure-id]/oauth2"),
        (f"Tenant: {GUID}", "[azure-id]"),
        ("vpce-0ab-xyz.bedrock-runtime.us-east-1.vpce.amazonaws.com:443", "[host]:443"),
        ("acme.services.ai.azure.com", "[host]"),
        ("x.privatelink.openai.azure.com", "[host]"),
        ("ip-10-0-0-7.ec2.internal and 172.16.3.4", "[host] and [host]"),
        ("key AKIAIOSFODNN7EXAMPLE", "key [secret]"),
        ("token ya29.a0AfH6SMBx and eyJhbGciOi.eyJzdWIi.c2ln", "token [secret] and [secret]"),
        ("sk-ant-api03-abc_DEF", "[secret]"),
    ],
)
def test_names_of_the_operators_cloud_become_fixed_words(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) is shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prompt is too long: 212345 tokens > 200000 maximum",
        "model: claude-sonnet-4-5@20250929 or us.anthropic.claude-opus-4-6-v1",
        "messages.0.content.1.text.cache_control.ttl: Input should be '5m' or '1h'",
        "the project is done in version 1.10.2.3.4 at 1763800000123",
        f"request {GUID} and {GUID[:-12]}123456789012",
        "bedrock-runtime.us-east-1.amazonaws.com and aiplatform.googleapis.com",
        "public address 8.8.8.8, an internal error",
    ],
)
def test_text_that_names_nothing_is_the_same_object(text: str) -> None:
    assert redact(text) is text
