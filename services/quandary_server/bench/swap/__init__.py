"""quandary bench swap: promotions and rollbacks under load, seen from outside."""
