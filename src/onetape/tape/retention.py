"""Forget the oldest part of a tape, in whole segments, once a checkpoint stands for it."""

from onetape.records.errors import OperatorError
from onetape.tape import checkpoint
from onetape.tape.layout import Facts, remove, segment_path, segments_of, sync_folder, write_facts
from onetape.tape.reader import durable_end, segment_of


def drop_before(folder: str, facts: Facts, offset: int) -> tuple[Facts, list[int]]:
    """Remove the segments that hold only frames older than `offset`. By the tape's writer.

    Returns the tape's facts as they are then, and the numbers of the segments removed.
    OperatorError, and nothing is removed, unless a valid checkpoint at `offset` or later exists
    (a replay could not start otherwise) and the tape is durable up to that checkpoint.

    The new start is made durable before the first file goes, and whatever a crash leaves behind
    is removed at the next opening.
    """
    mark = durable_end(folder, facts)
    newest, damaged = checkpoint.latest_valid(folder, mark.offset, checkpoint.check)
    if newest is None or newest.offset < offset:
        found = "none" if newest is None else f"one at frame {newest.offset}"
        raise OperatorError(
            f"{folder}: will not drop frames before {offset}: that takes a valid checkpoint at "
            f"{offset} or later that the tape is durable up to, and there was {found}"
            + "".join(f"; {problem}" for problem in damaged)
        )
    first, first_offset = segment_of(folder, facts, mark, offset)
    if first <= facts.start_segment:
        return facts, []
    facts = facts._replace(start_segment=first, start_offset=first_offset)
    write_facts(folder, facts)
    dropped = [index for index in segments_of(folder) if index < first]
    for index in dropped:
        remove(segment_path(folder, index))
    sync_folder(folder)
    return facts, dropped
