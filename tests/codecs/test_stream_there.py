"""An input is held against what stands in a stream: the same one goes on, another is refused."""

import pytest

from onetape.codecs.block import FRAMES, MANIFEST, Header, encode, encode_json, stamped
from onetape.codecs.stream_there import There
from onetape.records import OperatorError


def blocks(count, *, midnight_ns=0, byte=b"f"):
    yield encode_json(Header(MANIFEST), {"midnight_ns": midnight_ns, "sources": ["itch"]})
    for n in range(1, count):
        yield encode(Header(FRAMES, ordinal=n, count=1), byte * n)


def there(count, **how):
    made = [stamped(block, 7) for block in blocks(count, **how)]
    return There("topic day", made[0], made[-1]) if made else There("topic day")


def skipped(found, made):
    has = [found.has(block) for block in made]
    found.check_end()
    return sum(has)


def test_the_same_input_goes_on_behind_what_is_there():
    assert skipped(There("topic day"), blocks(5)) == 0
    assert skipped(there(3), blocks(5)) == 3
    assert skipped(there(5), blocks(5)) == 5


@pytest.mark.parametrize(
    "input, said",
    [
        ({"count": 5, "byte": b"g"}, "its block 2 of shard 0 differs"),
        ({"count": 2}, "ends 1 blocks before its block 2 of shard 0"),
        ({"count": 5, "midnight_ns": 9}, r"midnight_ns is 0 there, and 9 here \(--date\?\)"),
    ],
)
def test_another_input_is_refused(input, said):
    with pytest.raises(OperatorError, match=f"topic day holds another input: .*{said}"):
        skipped(there(3), blocks(**input))


def test_what_is_no_block_is_said():
    with pytest.raises(OperatorError, match="topic day holds what another program wrote"):
        There("topic day", b"{}", b"{}")
