"""Small things that know nothing of the rest."""
