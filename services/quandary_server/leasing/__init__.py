"""The state machine of a task and the order in which tasks are leased. Pure: time is an argument, nothing is stored."""
