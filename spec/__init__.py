"""config.json: its schema, the checks on it, and the default that `lcpy spec` writes.

``load`` is the way in; it gives a plain dict that everything behind it may trust.
"""

VERSION = "1.3.0"  # of the specification that we know
