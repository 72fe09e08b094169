"""A tape's folder is made once: whoever loses says so and leaves nothing behind."""

import errno
import os

import pytest

from onetape.native import files
from onetape.records import OperatorError
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1024, "threads": False}


class Overtaken(files.OsDisk):
    """Another process makes the tape while this one is about to give it its name."""

    def replace(self, source, target):
        if ".creating-" in os.path.basename(source):
            with files.using(files.OsDisk()):
                Tape.create(target, {"by": "the other"}, segment_bytes=2048, **SMALL).close()
        os.replace(source, target)


class Full(files.OsDisk):
    def replace(self, source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source)


def test_of_two_that_make_a_tape_one_does(tmp_path):
    with files.using(Overtaken()), pytest.raises(OperatorError, match="tape is not empty"):
        Tape.create(tmp_path / "tape", segment_bytes=2048, **SMALL)

    assert os.listdir(tmp_path) == ["tape"]
    with Tape.open(tmp_path / "tape", **SMALL) as tape:
        assert tape.facts.manifest == {"by": "the other"}


def test_a_tape_that_cannot_be_made_leaves_nothing(tmp_path):
    with files.using(Full()), pytest.raises(OperatorError, match="cannot be made there: No space"):
        Tape.create(tmp_path / "tape", segment_bytes=2048, **SMALL)
    assert os.listdir(tmp_path) == []

    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="cannot be made there: Not a directory"):
        Tape.create(tmp_path / "file", segment_bytes=2048, **SMALL)
