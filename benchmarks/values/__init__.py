"""A baseline of values: digests of what a fixed set of commands computes, compared before and after a change.

`commands` lists what is run, `digests` reads what that left behind with public libraries alone, `comparison` sets two
files against each other. Nothing of this package imports the project's own modules, so it outlives their moves.
"""
