"""What may not be in an operator, and what to write instead."""

import ast

NO_TEXT = (
    "an operator makes no text: keep numbers in records; the text of an alert is given where the "
    "stream is made, stream.alert('...')"
)
NO_ROOM = "an operator allocates nothing while it runs; keep values in its state, "
CELLS = NO_ROOM + "for example cells: ot.Array[ot.i64, 16]"
LOOP = "write a for loop over range(n), and add up in a variable"

SYNTAX: dict[type[ast.AST], str] = {
    ast.JoinedStr: "a text is put together here, and " + NO_TEXT,
    ast.Dict: "a dict is made here; " + NO_ROOM + "which every key has its own of",
    ast.Set: "a set is made here; write a tuple: x in (1, 2, 3)",
    ast.ListComp: "a list is made here; " + LOOP,
    ast.SetComp: "a set is made here; " + LOOP,
    ast.DictComp: "a dict is made here; " + LOOP,
    ast.GeneratorExp: "a generator does not compile in an operator; " + LOOP,
    ast.Yield: "an operator does not yield; take an emitter (out: ot.UpTo[4, Record]) and call "
    "out.append(Record(...)) for each",
    ast.YieldFrom: "an operator does not yield; take an emitter, out: ot.UpTo[4, Record]",
    ast.Await: "an operator waits for nothing; it is called for each event",
    ast.With: "`with` does not compile in an operator, and it opens nothing",
    ast.Import: "an import stands at the top of the file, not in an operator",
    ast.ImportFrom: "an import stands at the top of the file, not in an operator",
    ast.Global: "a global would be shared by all keys and is not on the tape; keep it in state",
    ast.Nonlocal: "a variable from outside is not on the tape; keep it in state",
    ast.Delete: "`del` does not compile in an operator; nothing has to be freed here",
    ast.NamedExpr: "`:=` does not compile in an operator; assign on a line of its own",
}

BUILTINS = {
    **dict.fromkeys(["open", "input"], "an operator reads nothing but events; what it needs from "
                    "outside is a setting (after *), or a source of its own"),
    **dict.fromkeys(["str", "repr", "format", "ascii", "chr"], NO_TEXT),
    **dict.fromkeys(["list", "dict", "set", "frozenset", "sorted", "bytes", "bytearray"], CELLS),
    **dict.fromkeys(["any", "all", "reversed", "map", "filter"], LOOP),
    **dict.fromkeys(["getattr", "setattr", "hasattr", "vars"], "write the field out: event.field"),
    **dict.fromkeys(["eval", "exec", "compile", "globals", "locals", "super"],
                    "it does not compile; write out what is meant"),
    "hash": "it is not the same in every run; use the field itself",
    "id": "an object's address is not on the tape; use a field of the event",
}  # fmt: skip

CLOCKS = ("time", "datetime", "_datetime")
CHANCES = ("random", "_random", "secrets", "uuid")
NOT_ON_THE_TAPE = {
    **dict.fromkeys(CLOCKS, "is a clock, and what it says is not on the tape: a replay would give "
                    "other rows. Use the event's time, {event}.ts_event_ns; to be called at a "
                    "time, set wake_ns and write on_timer"),
    **dict.fromkeys(CHANCES, "is chance, and not on the tape: a replay would give other rows. "
                    "Draw from what the event has, for example "
                    "({event}.ts_event_ns * 2654435761 + seed) % n with a setting `seed`"),
}  # fmt: skip

ALLOCATING = (
    "zeros", "ones", "empty", "full", "array", "asarray", "arange", "linspace", "concatenate",
    "zeros_like", "empty_like", "append", "sort", "unique", "where", "copy", "stack", "roll",
)  # fmt: skip
