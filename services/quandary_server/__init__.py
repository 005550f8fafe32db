"""The services of Quandary: scoring, selector and trainer."""
