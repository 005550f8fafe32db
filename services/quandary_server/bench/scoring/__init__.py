"""quandary bench scoring: what scoring costs, in parts that can be run alone, and what peers cost in the same run."""
