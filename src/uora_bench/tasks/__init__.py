"""Task families, one file each; they know nothing of methods. ``base`` is the wall they stand behind."""
