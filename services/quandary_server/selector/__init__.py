"""The selector service: from the fleet log to a ranked queue that labellers lease from."""
