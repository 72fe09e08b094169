"""Why a job failed, in one line, out of what Flink says in hundreds."""

import pytest

from onetape.runtimes.flink.why import is_ours, root_cause

THREAD = """\
pemja.core.PythonException: <class 'onetape.records.errors.OperatorError'>: block 7 of shard 0, \
events 1 to 64: operator Jumps raised ValueError: no at offset 4096, event 3
\tat /venv/lib/python3.11/site-packages/pyflink/operations.process_element\
(operations.py:128)
\tat pemja.core.object.PyIterator.next(Native Method)
\tat pemja.core.object.PyIterator.hasNext(PyIterator.java:40)
\tat java.base/java.lang.Thread.run(Thread.java:829)
"""
PROCESS = """\
java.lang.RuntimeException: Error while waiting for BeamPythonFunctionRunner flush
\tat org.apache.flink.AbstractExternalPythonFunctionOperator\
.invokeFinishBundle(AbstractExternalPythonFunctionOperator.java:107)
Caused by: java.lang.RuntimeException: Failed to close remote bundle
\t... 15 more
Caused by: java.util.concurrent.ExecutionException: java.lang.RuntimeException: Error \
received from SDK harness for instruction 4: Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/apache_beam/worker/sdk_worker.py", line 312, in _e
    response = task()
onetape.engine.engine.StepError: operator Jumps raised ValueError: no

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/src/onetape/runtimes/flink/operator.py", line 80, in process_element
    raise OperatorError(
onetape.records.errors.OperatorError: block 7 of shard 0, events 1 to 64: operator Jumps \
raised ValueError: no at offset 4096, event 3

\tat java.base/java.util.concurrent.CompletableFuture.reportGet(CompletableFuture.java:395)
\t... 7 more
"""
LOST = """\
org.apache.flink.runtime.jobmaster.JobMasterException: TaskManager with id taskmanager-1 is no \
longer reachable.
\tat org.apache.flink.runtime.jobmaster.JobMaster$Listener.notify(JobMaster.java:1)
"""
NESTED = """\
org.apache.flink.util.FlinkRuntimeException: Failed to send data to Kafka out-0@-1
\tat org.apache.flink.connector.kafka.sink.KafkaWriter.write(KafkaWriter.java:1)
Caused by: org.apache.kafka.common.errors.RecordTooLargeException: The \
message is 9 bytes when serialized
"""
SAID = "block 7 of shard 0, events 1 to 64: operator Jumps raised ValueError: no at offset"


@pytest.mark.parametrize("trace", [THREAD, PROCESS])
def test_an_operator_s_error_is_its_own_words(trace):
    said = root_cause(trace, "onetape -> blocks out: Writer (1/2)#0")
    assert said == f"onetape (1/2)#0: {SAID} 4096, event 3"
    assert is_ours(trace)


def test_what_happened_to_flink_is_said_with_its_kind():
    said = root_cause(LOST, None)
    assert said == "JobMasterException: TaskManager with id taskmanager-1 is no longer reachable."
    assert not is_ours(LOST)
    assert root_cause(NESTED, "blocks in -> key of the shard (1/1)") == (
        "blocks in -> key of the shard (1/1): RecordTooLargeException: The message is 9 bytes when "
        "serialized"
    )


def test_a_python_error_of_others_keeps_its_kind():
    trace = "a.PythonException: <class 'ModuleNotFoundError'>: No module named 'numba'\n\tat x\n"
    assert root_cause(trace, None) == "ModuleNotFoundError: No module named 'numba'"
    assert root_cause("", None) == "Flink does not say why"
