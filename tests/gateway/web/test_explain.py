"""What a next request meets, asked of the whole gateway."""

from pathlib import Path

from gateway.web import explain
from tests.support.gateway import CREDENTIAL, OPERATOR, SESSION, request_body, serving
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block

URL = f"{explain.ADMIN_PREFIX}/limits/explain"
BUDGETS = [
    {"account": "org", "window": "total", "limit_usd": 9, "strict": True},
    {"account": "user", "window": "total", "limit_usd": 5},
    {"account": "user:alice", "window": "total", "limit_usd": 2},
    {"account": "session", "window": "total", "limit_usd": 1},
]


async def test_explanation_agrees_with_the_ledger_and_the_fuses(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        serving(tmp_path, upstream.base_url, budgets=BUDGETS, fuses={"agent": {"requests": 1}}) as gateway,
    ):
        async with gateway.post(request_body()) as response:
            await response.read()
        await gateway.quiet()
        explained = await gateway.operator(f"limits/explain?session={SESSION}")
        counted = {limit["account"]: limit for limit in (await gateway.operator("limits"))["limits"]}
        (session,) = (await gateway.operator("sessions"))["sessions"]
        async with gateway.post(request_body()) as response:
            assert response.status == 429
        await gateway.quiet()
        blown = await gateway.operator(f"limits/explain?agent={SESSION}/main")
    assert explained["subject"]["user"] == "alice" and explained["subject"]["credential"] == "alice-laptop"
    limits = {limit["account"]: limit for limit in explained["limits"]}
    assert list(limits) == [f"session:{SESSION}", "user:alice", "org"]
    for account, limit in limits.items():
        assert limit["spent_nanousd"] == counted[account]["spent_nanousd"] == session["cost_nanousd"] > 0
        assert limit["left_nanousd"] == limit["limit_nanousd"] - limit["spent_nanousd"]
    assert [limit["entry"] for limit in explained["limits"]] == [3, 2, 0]
    (fuse,) = explained["fuses"]
    assert (fuse["meter"], fuse["value"], fuse["limit"], fuse["holder"]) == ("requests", 1, 1, f"{SESSION}/main")
    assert "the next request blows the requests fuse" in explained["sentence"]
    assert [(fuse["state"], fuse["value"]) for fuse in blown["fuses"]] == [("blown", 2)]
    assert "has blown" in blown["sentence"] and "fuses replace" in blown["sentence"]


async def test_who_is_not_known_is_explained_by_the_defaults(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9", budgets=BUDGETS) as gateway:
        explained = await gateway.operator("limits/explain?user=new")
        listed = (await gateway.operator("limits"))["limits"]
    assert [(limit["account"], limit["limit_nanousd"]) for limit in explained["limits"]] == [
        ("session", 10**9),
        ("user:new", 5 * 10**9),
        ("org", 9 * 10**9),
    ]
    assert any("user new is not known" in note for note in explained["notes"])
    assert {limit["account"] for limit in listed} == {"org", "user:alice"}


BAD_QUESTIONS = {
    "user=alice&credential=bob-laptop": "bob-laptop is of user bob",
    "sesion=x": "sesion: must be one of user, team",
    "user=a&user=b": "once at most",
    "user=": "neither empty",
    "user=a%0Ab": "printable",
    f"agent={'a' * 600}": "printable",
}


async def test_bad_question_is_answered_with_what_is_wrong_and_only_to_an_operator(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for query, said in BAD_QUESTIONS.items():
            async with gateway.client.get(f"{gateway.url}{URL}?{query}", headers={"x-api-key": OPERATOR}) as response:
                assert response.status == 400
                assert said in (await response.json())["error"]["message"]
        async with gateway.client.get(f"{gateway.url}{URL}?user=alice", headers={"x-api-key": CREDENTIAL}) as response:
            assert response.status == 403
            assert "subject" not in await response.text()
