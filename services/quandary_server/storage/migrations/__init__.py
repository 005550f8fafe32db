"""How a store's schema came about: one revision after the other, forwards only (the way back is a backup)."""
