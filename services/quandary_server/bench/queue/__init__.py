"""`quandary bench queue`: is what the queue asks for first worth asking for, and how fast and how surely it is leased."""
