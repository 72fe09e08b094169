"""The simulated exchange on the network: numbered packets on two lines, answers, and faults."""
