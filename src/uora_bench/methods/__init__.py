"""Adapter methods, one file each; they know nothing of tasks or of the trainer.

``base`` is the wall they stand behind, ``functional`` the maths of the forward pass, ``projections`` the frozen shared
pairs of the vector methods, ``refresh`` UORA's rewriting of them.
"""
