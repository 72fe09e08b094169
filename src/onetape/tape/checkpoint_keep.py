"""Which checkpoints are kept, and the removal of the others with the chunks that only they need.

Manifests go first and their folder is synced, then the packs that no kept manifest names. So a
crash at any point leaves every kept checkpoint whole, and at most packs too many, which the next
removal takes.
"""

import os
from contextlib import suppress
from typing import NamedTuple

from onetape.records.errors import IntegrityError
from onetape.tape.checkpoint_manifest import (
    Manifest,
    manifest_path,
    offsets_in,
    packs_in,
    read_manifest,
)
from onetape.tape.layout import remove, sync_folder

HOUR_NS, DAY_NS = 3_600 * 10**9, 86_400 * 10**9


class Retention(NamedTuple):
    """The newest, and beyond them the last of each of so many hours and days (UTC)."""

    newest: int = 4
    hours: int = 24
    days: int = 7


DEFAULT = Retention()


def readable(base: str) -> list[Manifest]:
    """The manifests that can be read, last written first. Their chunks are not looked at."""
    found = []
    for offset in offsets_in(base):
        with suppress(IntegrityError):
            found.append(read_manifest(base, offset))
    return sorted(found, key=lambda manifest: -manifest.generation)


def kept(manifests: list[Manifest], retention: Retention) -> set[int]:
    """Offsets of those to keep. `manifests`: last written first."""
    keep = {m.offset for m in manifests[: max(retention.newest, 1)]}
    for count, step_ns in ((retention.hours, HOUR_NS), (retention.days, DAY_NS)):
        spans: dict[int, int] = {}
        for manifest in manifests:
            spans.setdefault(manifest.written_ns // step_ns, manifest.offset)
        keep |= {spans[span] for span in sorted(spans, reverse=True)[:count]}
    return keep


def collect(base: str, manifests: list[Manifest], retention: Retention) -> list[int]:
    """Remove what is not kept; returns the offsets of the checkpoints removed.

    One whose manifest cannot be read goes once `retention.newest` newer ones can be.
    """
    keep = kept(manifests, retention)
    newest = manifests[: max(retention.newest, 1)]
    can_be_read = {m.offset for m in manifests}
    if len(newest) < retention.newest:
        keep |= set(offsets_in(base)) - can_be_read
    else:
        keep |= {o for o in offsets_in(base) if o not in can_be_read and o > newest[-1].offset}
    gone = [offset for offset in offsets_in(base) if offset not in keep]
    for offset in gone:
        remove(manifest_path(base, offset))
    if gone:
        sync_folder(base)
    needed = {pack.name for m in manifests if m.offset in keep for pack in m.packs}
    unneeded = [name for name in packs_in(base) if name not in needed]
    for name in unneeded:
        remove(os.path.join(base, name))
    if unneeded:
        sync_folder(base)
    return gone
