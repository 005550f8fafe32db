"""How a store's schema came about: one revision after the other, forwards only (the way back is a backup).

To change the schema: change `schema.py`, write the next file in `versions` after the last one's example, and name its
revision in `revisions.REVISIONS`. `tests/storage/test_revisions.py` tells what is missing between them.
"""
