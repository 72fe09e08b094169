"""What went wrong with Kafka, as one line that says what to do.

librdkafka writes its troubles to stderr, many times over; here they are caught and said once.
"""

from typing import Any

from onetape.records import OperatorError

_NAMES = {  # librdkafka's or the broker's name of the error: what it means
    "UNKNOWN_TOPIC_OR_PART": "it is not there; make it (onetape publish does), or look at its name",
    "_UNKNOWN_TOPIC": "it is not there; make it (onetape publish does), or look at its name",
    "_UNKNOWN_PARTITION": "it has no such partition",
    "TOPIC_AUTHORIZATION_FAILED": "this user may not use it; its access list has to say so",
    "GROUP_AUTHORIZATION_FAILED": "this user may not use the group; its access list has to say so",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "this user may not write in transactions; its access "
    "list has to say so",
    "CLUSTER_AUTHORIZATION_FAILED": "this user may not do that; its access list has to say so",
    "SASL_AUTHENTICATION_FAILED": "the brokers refuse this name and password",
    "_AUTHENTICATION": "the brokers refuse this name and password, or how they are shown "
    "(ONETAPE_KAFKA_SASL)",
    "_SSL": "TLS fails; is ONETAPE_KAFKA_CA the authority of their certificates?",
    "MSG_SIZE_TOO_LARGE": "a record is larger than it takes (max.message.bytes); fewer events a "
    "block",
    "INVALID_REPLICATION_FACTOR": "there are not as many brokers as it shall have copies",
    "NOT_ENOUGH_REPLICAS": "too few of its copies are there (min.insync.replicas)",
    "OFFSET_METADATA_TOO_LARGE": "the mark of the outputs is longer than the brokers take "
    "(offset.metadata.max.bytes)",
}  # fmt: skip
_AWAY = ("_ALL_BROKERS_DOWN", "_TRANSPORT", "_RESOLVE", "_TIMED_OUT", "_MSG_TIMED_OUT",
         "REQUEST_TIMED_OUT", "_TIMED_OUT_QUEUE")  # fmt: skip
_PASSING = (*_AWAY, "NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE",
            "UNSTABLE_OFFSET_COMMIT", "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION",
            "_WAIT_COORD", "NETWORK_EXCEPTION", "OFFSET_NOT_AVAILABLE", "FENCED_LEADER_EPOCH",
            "UNKNOWN_LEADER_EPOCH", "KAFKA_STORAGE_ERROR", "REBALANCE_IN_PROGRESS",
            "BROKER_NOT_AVAILABLE", "CONCURRENT_TRANSACTIONS")  # fmt: skip
_FENCED = ("_FENCED", "PRODUCER_FENCED", "FENCED_INSTANCE_ID")


class Heard:
    """The last troubles that a client's own threads told of (its `error_cb`).

    What they say first (no connection, a password refused) explains the timeout that follows.
    """

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def __call__(self, error: Any) -> None:
        self._last[error.name()] = _plain(error.str())

    def clear(self) -> None:
        self._last.clear()

    def cause(self) -> tuple[str, str]:
        """(name, text) of what tells most; empty if there is nothing."""
        for name in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "_SSL", "_RESOLVE",
                     "_TRANSPORT", "_ALL_BROKERS_DOWN"):  # fmt: skip
            if name in self._last:
                return name, self._last[name]
        return next(iter(self._last.items()), ("", ""))


def error_of(why: Any) -> Any:
    """The KafkaError in an exception, or the error itself."""
    return why.args[0] if isinstance(why, Exception) and why.args else why


def may_pass(why: Any) -> bool:
    """Is it of a moment: nobody answers, another broker leads now?"""
    return error_of(why).name() in _PASSING or bool(error_of(why).retriable())


def is_fenced(why: Any) -> bool:
    """Has another producer with this transactional id taken over?"""
    error = error_of(why)
    is_old = error.name() == "INVALID_PRODUCER_EPOCH" and error.fatal()
    return is_old or error.name() in _FENCED


def problem(what: str, why: Any, brokers: str, heard: Heard | None = None) -> OperatorError:
    """The error for a person. what: "topic trades", "writing to topic trades" ..."""
    error = error_of(why)
    if not hasattr(error, "name"):
        return OperatorError(f"{what}: {error}")
    name, text = error.name(), _plain(error.str())
    if is_fenced(error):
        return OperatorError(
            f"{what}: another one with the same name has taken over, so this one ends; nothing was "
            "written twice"
        )
    if name in _AWAY:
        cause, said = heard.cause() if heard is not None else ("", "")
        if cause in _NAMES:
            return OperatorError(f"{what}: {_NAMES[cause]} ({said})")
        return OperatorError(
            f"{what}: no answer from {brokers} ({said or text}); start a broker (deploy/kafka "
            "start FOLDER), or say where it is (--kafka HOST:PORT)"
        )
    return OperatorError(
        f"{what}: {_NAMES[name]}" if name in _NAMES else f"{what}: {text} ({name})"
    )


def _plain(text: str) -> str:
    """Without the names librdkafka gives its connections: "127.0.0.1:1/bootstrap: Connect ..."."""
    words = [part for part in text.split(": ") if "thrd" not in part]
    return ": ".join(words).replace("/bootstrap", "").strip()


def load() -> Any:
    """The library, or one line that says how to get it."""
    try:
        import confluent_kafka
    except ImportError:
        raise OperatorError(
            'Kafka takes the library confluent-kafka; install it: pip install "onetape[kafka]"'
        ) from None
    return confluent_kafka


def client(kind: str, config: dict[str, Any]) -> Any:
    """A Producer or Consumer; OperatorError: an option that cannot be."""
    kafka = load()
    try:
        return getattr(kafka, kind)(config)
    except kafka.KafkaException as why:
        raise OperatorError(
            f"an option for Kafka cannot be: {_plain(error_of(why).str())}; look at "
            "--kafka-options and the variables ONETAPE_KAFKA_..."
        ) from None
