#!/usr/bin/env python3
"""Validates OCSF events, one JSON object a line on stdin or in the file given, against the class schemas of OCSF 1.8.0.

The schemas are not ours: PyPI `ocsf-json-schema==1.2.0` carries them, PyPI `jsonschema-rs` judges. Install both in a
virtual environment outside the repository. A class is judged with the profiles that the event itself names.

Prints one line for each invalid event and a summary; exits 1 when an event is invalid, when a line is no JSON object,
or when there was nothing to judge. `--self-test` plants bad events among a good one and fails unless each is found.
"""

import json
import sys

import jsonschema_rs
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
CLASSES = {
    0: "base_event",
    2003: "compliance_finding",
    3001: "account_change",
    3002: "authentication",
    3004: "entity_management",
    3005: "user_access",
    3006: "group_management",
    6002: "application_lifecycle",
    6003: "api_activity",
    6005: "datastore_activity",
}


class Judge:
    """Judges events, keeping one compiled schema for each class and set of profiles."""

    def __init__(self):
        self.schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
        self.validators = {}

    def faults(self, event):
        """The faults of one event, as text; none when it is valid."""
        if not isinstance(event, dict):
            return ["not an object"]
        uid = event.get("class_uid")
        name = CLASSES.get(uid) if isinstance(uid, int) else None
        if name is None:
            return [f"class_uid {uid!r} is none that this program writes"]
        metadata = event.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("version") != VERSION:
            return [f"metadata.version is not {VERSION}"]
        profiles = tuple(metadata.get("profiles", []))
        if (name, profiles) not in self.validators:
            schema = self.schemas.get_class_schema(class_name=name, profiles=list(profiles))
            self.validators[name, profiles] = jsonschema_rs.validator_for(schema)
        errors = self.validators[name, profiles].iter_errors(event)
        return ["/".join(map(str, error.instance_path)) + ": " + error.message[:200] for error in errors]


def judge(lines):
    """Judges lines; returns how many were judged and how many were bad."""
    judge, seen, bad = Judge(), {}, 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as error:
            faults, uid = [f"not JSON: {error}"], None
        else:
            faults = judge.faults(event)
            uid = event.get("class_uid") if isinstance(event, dict) else None
        seen[uid] = seen.get(uid, 0) + 1
        if faults:
            bad += 1
            print(f"line {number}, class {uid}: {'; '.join(faults[:5])}")
    total = sum(seen.values())
    classes = ", ".join(f"{uid}: {count}" for uid, count in sorted(seen.items(), key=str))
    print(f"{total} events judged against OCSF {VERSION} ({classes}): {bad} invalid")
    return total, bad


def self_test():
    """One good event and the same with one thing wrong at a time: exactly the bad ones must be found."""
    good = {
        "class_uid": 6005, "category_uid": 6, "activity_id": 1, "type_uid": 600501, "severity_id": 1, "time": 5,
        "metadata": {"version": VERSION, "product": {"name": "PostgreSQL"}}, "actor": {"user": {"name": "a"}},
        "src_endpoint": {"ip": "127.0.0.1"}, "database": {"name": "d", "type_id": 1},
    }
    wrong = [
        {key: value for key, value in good.items() if key != "actor"},
        {**good, "invented_field": 1},
        {**good, "database": {"name": "d"}},
        {**good, "severity_id": 77},
        {**good, "query_info": {"query_string": "select 1"}},
        {**good, "class_uid": 1234},
        {**good, "metadata": {"version": "1.7.0", "product": {"name": "x"}}},
    ]
    assert judge([json.dumps(good)]) == (1, 0), "the good event is refused"
    for event in wrong:
        assert judge([json.dumps(event)]) == (1, 1), f"a bad event is accepted: {event}"
    assert judge(["{"]) == (1, 1), "a line that is no JSON is accepted"
    print(f"self-test: 1 good event accepted, {len(wrong) + 1} bad lines refused")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if len(sys.argv) > 2 or sys.argv[1:2] and sys.argv[1].startswith("-"):
        print("usage: ocsf_check.py [--self-test | FILE] < events.ndjson", file=sys.stderr)
        return 2
    if len(sys.argv) == 2:
        with open(sys.argv[1], encoding="utf-8") as lines:
            total, bad = judge(lines)
    else:
        total, bad = judge(sys.stdin)
    if total == 0:
        print("nothing to judge", file=sys.stderr)
    return 1 if bad or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
