"""What a feed's decoder refuses, and yet two lines say alike: that is what the venue sent.

A message may be refused because it was damaged on its way, or because the venue says something
that this decoder does not know (a new type, a field out of its range). A second copy, by another
line, tells them apart. Other bytes: one of the two was damaged, and a third may be whole. The same
bytes: the stream goes on behind it at once and is stale, as it is behind a refused message of a
file; waiting for better would hold up all that follows. A copy on the *same* line proves nothing:
networks repeat packets, damage included.
"""

from onetape.compiled.crc32c import crc32c
from onetape.compiled.kernel import kernel

SLOTS = 1024  # refused messages that are remembered at a time, by number
TWO_LINES = 255  # in place of a line: two of them said it


@kernel
def remember(feed, buffer, body, length, sequence, line):
    """The decoder has refused this copy of message `sequence`, which came by `line`."""
    slot = sequence % SLOTS
    check = crc32c(0, buffer, body, length) << 16 | length
    if feed.refused_sequence[slot] != sequence or feed.refused_check[slot] != check:
        feed.refused_sequence[slot] = sequence
        feed.refused_check[slot] = check
        feed.refused_line[slot] = line
    elif feed.refused_line[slot] != line:
        feed.refused_line[slot] = TWO_LINES


@kernel
def pass_over(feed):
    """Go on behind the message that is expected, if two lines said alike what was refused."""
    slot = feed.next_sequence % SLOTS
    if feed.refused_sequence[slot] != feed.next_sequence or feed.refused_line[slot] != TWO_LINES:
        return False
    feed.next_sequence += 1
    feed.stale = 1
    return True


@kernel
def forget_refused(feed):
    """Numbers start anew."""
    for slot in range(SLOTS):
        feed.refused_sequence[slot] = 0
