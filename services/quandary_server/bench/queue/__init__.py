"""`quandary bench queue`: is what the queue asks for first worth asking for."""
