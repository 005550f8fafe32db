"""From ranking to query: which of the scored frames are labelled next, and in which order. Pure."""
