"""A client that knows nothing but an address: every type comes from the server's reflection.

    client.py HOST:PORT [OTHER ...]

Defines a pool, streams elements over Submit, watches matches while they come, resumes from a cursor, and is refused with a
code and a message. Lists the services of the other nodes. Prints a line of JSON with what it saw; any surprise is an exception.
"""

import json
import queue
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "dovetail.v1.MatchService"
DEADLINE_S = 60
ELEMENTS = 2000


class Service:
    """The methods of a service, by their names, as reflection describes them."""

    def __init__(self, channel, name):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)
        self.methods = {method.name: method for method in self.pool.FindServiceByName(name).methods}
        self.name = name

    def type(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName("dovetail.v1." + name))

    def call(self, method, requests, **options):
        described = self.methods[method]
        kind = ("stream" if described.client_streaming else "unary") + (
            "_stream" if described.server_streaming else "_unary"
        )
        call = getattr(self.channel, kind)(
            f"/{self.name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(described.output_type).FromString,
        )
        return call(requests, **{"timeout": DEADLINE_S, **options})


def submission(service, number, **more):
    element = service.type("Submission")(key=f"e{number}", payload=f"payload {number}".encode(), **more)
    element.attributes["skill"].int_value = number // 2
    element.attributes["maps"].string_list_value.values.extend(["dust", "mirage"])
    return element


def define(service):
    request = service.type("DefinePoolRequest")()
    request.pool.name = "foreign"
    request.pool.rule = "a.skill == b.skill && a.maps.intersects(b.maps)"
    request.pool.attributes.add(name="skill", type="ATTRIBUTE_TYPE_INT")
    request.pool.attributes.add(name="maps", type="ATTRIBUTE_TYPE_STRING_LIST")
    first, again = service.call("DefinePool", request), service.call("DefinePool", request)
    assert (first.created, again.created) == (True, False) and first.defined_at == again.defined_at, (first, again)
    return first.defined_at


def stream(service, watch):
    """Submits in batches of 100, the next one when the pairs of the one before have come out."""
    batches = queue.Queue()
    answers = service.call("Submit", iter(batches.get, None))
    ids, matches = [], []
    for start in range(0, ELEMENTS, 100):
        request = service.type("SubmitRequest")(pool="foreign")
        request.rows.rows.extend(submission(service, number) for number in range(start, start + 100))
        batches.put(request)
        answer = next(answers)
        assert not answer.refusals, answer
        ids.extend(answer.ids)
        while len(matches) < len(ids) // 2:
            matches.extend(next(watch).matches)
    batches.put(None)
    assert list(answers) == []
    assert ids == sorted(set(ids)) and len(ids) == ELEMENTS, "ids ascend"
    return ids, matches


def check(ids, matches):
    cursors = [found.cursor for found in matches]
    assert cursors == sorted(set(cursors)), "each match once, in order"
    for number, found in enumerate(matches):
        pair = [(end.id, end.key, end.payload) for end in (found.a, found.b)]
        expected = [(ids[n], f"e{n}", f"payload {n}".encode()) for n in (2 * number, 2 * number + 1)]
        assert pair == expected, (pair, expected)


def resume(service, after, expected):
    request = service.type("WatchMatchesRequest")(pool="foreign", after=after, until_settled=True)
    rest = [found for response in service.call("WatchMatches", request) for found in response.matches]
    assert rest == expected, f"{len(rest)} matches after {after}, not {len(expected)}"
    return len(rest)


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "message": error.details()}
    raise AssertionError("it was not refused")


def outcomes(service, matches):
    """Nothing was withdrawn and nothing expires: the outcomes are the matches."""
    request = service.type("WatchOutcomesRequest")(pool="foreign", until_settled=True)
    seen = [outcome for part in service.call("WatchOutcomes", request) for outcome in part.outcomes]
    assert all(outcome.WhichOneof("kind") == "match" for outcome in seen), seen
    assert [outcome.match.SerializeToString() for outcome in seen] == [found.SerializeToString() for found in matches]


def deadlines(service, waiting):
    """Long polls and a watch with deadlines of their own: whoever notices first, the code is that of gRPC."""
    request = service.type("GetElementRequest")(wait_ms=5000)
    request.element.id = waiting
    watch = service.type("WatchMatchesRequest")(after=waiting)
    calls = [lambda: service.call("GetElement", request, timeout=0.05)] * 20
    calls += [lambda: list(service.call("WatchMatches", watch, timeout=0.05))] * 5
    return sorted({refused(call)["code"] for call in calls})


def key_waiting(service, waiting):
    """The details that come with an error, read as any client can: they are messages of google.rpc."""
    request = service.type("SubmitOneRequest")(pool="foreign", element=submission(service, 10**6))
    try:
        service.call("SubmitOne", request)
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata())
    details = trailers["grpc-status-details-bin"]
    assert b"type.googleapis.com/google.rpc.ErrorInfo" in details, details
    assert str(waiting).encode() in details, "the element that has the key"
    return {"reason": "KEY_WAITING" if b"KEY_WAITING" in details else repr(details)}


def wrong_type(service):
    request = service.type("SubmitOneRequest")(pool="foreign", element=submission(service, 1, idempotency_key="wrong"))
    request.element.attributes["skill"].string_value = "high"
    return refused(lambda: service.call("SubmitOne", request))


def services(address):
    with grpc.insecure_channel(address) as channel:
        return sorted(ProtoReflectionDescriptorDatabase(channel).get_services())


def main(address, *others):
    with grpc.insecure_channel(address) as channel:
        service = Service(channel, SERVICE)
        defined_at = define(service)
        watch = service.call("WatchMatches", service.type("WatchMatchesRequest")(pool="foreign"))
        ids, matches = stream(service, watch)
        watch.cancel()
        check(ids, matches)
        outcomes(service, matches)
        middle = len(matches) // 2
        request = service.type("SubmitOneRequest")(pool="foreign", element=submission(service, 10**6))
        waiting = service.call("SubmitOne", request).id
        seen = {
            "deadlines": deadlines(service, waiting),
            "details": key_waiting(service, waiting),
            "services": [services(node) for node in (address, *others)],
            "methods": sorted(service.methods),
            "defined_at": defined_at,
            "ids": [ids[0], ids[-1]],
            "matches": len(matches),
            "resumed": resume(service, matches[middle - 1].cursor, matches[middle:]),
            "wrong_type": wrong_type(service),
            "future": refused(
                lambda: list(service.call("WatchMatches", service.type("WatchMatchesRequest")(after=10**12)))
            ),
        }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
