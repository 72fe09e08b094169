"""FIX 4.4 as a drop copy sends it: tag=value messages, of which ExecutionReports become records."""
