"""What the selector costs and holds while a fleet log streams through it."""
