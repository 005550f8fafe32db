"""What comes after the rounds: tables, labels saved, figures."""
