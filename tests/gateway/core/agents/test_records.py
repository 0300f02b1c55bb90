"""Agents as they are stored: records of earlier versions are read too."""

import msgspec

from gateway.core.agents.records import AgentRecord, Claimed

OLD = (
    b'{"session":"s","agent":"a1","credential":"laptop","user":"alice","client":"claude-cli","parent":"main","depth":1,'
    b'"agent_type":null,"model":null,"workspace":null,"inferred":false,"first_seen_ms":1,"last_seen_ms":2,"requests":3,'
    b'"tool_calls":4,"denials":5,"output_tokens":6,"total_tokens":7,"cost_nanousd":8}'
)


def test_record_of_an_earlier_version_is_an_agent_that_was_admitted_and_has_spoken() -> None:
    record = msgspec.json.decode(OLD, type=AgentRecord)
    assert (record.admitted, record.first_token, record.active) == (True, True, False)
    assert (record.stream_ms, record.run, record.spawned_by) == (0, None, None)


def test_record_comes_back_as_it_was_written() -> None:
    record = msgspec.structs.replace(msgspec.json.decode(OLD, type=AgentRecord), run="wf_1", prompt_tokens_base=7)
    assert msgspec.json.decode(msgspec.json.encode(record), type=AgentRecord) == record
    assert Claimed("laptop", "alice", 1).seen is None
