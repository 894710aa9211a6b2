"""The contract: what is asked of every method, and the skeletons that keep it.

``cases`` lists the checks (``start``, ``maths``, ``state``, ``training``, ``processes``) and runs them; ``harness`` and
``models`` are what they share; ``entries`` tries a task, backbone or experiment; ``skeletons`` writes new ones.
"""
