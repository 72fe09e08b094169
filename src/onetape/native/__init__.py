"""The few system calls the hot loop makes, each with an explicit Python twin."""
