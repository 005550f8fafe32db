"""Active learning, replayed: one arm is one method with one seed."""
