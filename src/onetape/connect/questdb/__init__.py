"""QuestDB: outputs into its tables, exactly once, and its answers as Arrow."""

from onetape.connect.questdb.sink import QuestdbSink

__all__ = ["QuestdbSink"]
